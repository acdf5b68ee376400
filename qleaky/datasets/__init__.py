"""Small data sets that ship with the package."""

from qleaky.datasets._japanese_vowels import JapaneseVowels, japanese_vowels

__all__ = ["JapaneseVowels", "japanese_vowels"]
