"""Tests of egowm: a package, since dependencies install one of this name, too."""
