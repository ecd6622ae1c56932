"""Generation: a language model writes while some of its units are edited."""
