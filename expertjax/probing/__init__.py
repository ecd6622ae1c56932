"""How well representations and language models generalize: probes, perplexity."""
