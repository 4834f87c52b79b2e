"""Models that do next to nothing, so that what surrounds them can be measured."""
