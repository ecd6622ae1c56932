"""Results of other software, made into a result folder of ours."""
