"""Rankings, probes and analyses: what methods make of activation sets and texts."""
