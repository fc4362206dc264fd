"""The files of the NeuroX toolkit, either way."""
