"""Finds the neurons that carry a model's idea of gender, and clamps them: patchclamp's main job, through its SDK."""
