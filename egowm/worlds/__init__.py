"""Simulated worlds that come with the toolkit: frames with exact actions, masks, depth and pose."""
