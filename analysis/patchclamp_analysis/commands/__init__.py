"""The commands of `patchclamp-analysis`."""
