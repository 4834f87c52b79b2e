"""The pitch of a voice or an instrument, by CREPE."""
