"""Training small GPT-2s on plain text: tokenizer, data, loop, baselines."""
