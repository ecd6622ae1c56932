"""Analysis: experts, layers, overlap; what the numbers say."""
