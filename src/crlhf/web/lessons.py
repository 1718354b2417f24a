"""The guide's worked examples and the training items, with what is wrong in them and why."""

from __future__ import annotations

from typing import NamedTuple

from crlhf.languages.python import judgeable_lines


class Lesson(NamedTuple):
    """A program with known wrong lines: `explanation` says why they are wrong, or why none is; backticks mark code."""

    title: str
    description: str
    examples: tuple[str, ...]
    code: str
    wrong_line_nos: tuple[int, ...]
    explanation: str

    @property
    def line_nos(self) -> tuple[int, ...]:
        """Its judgeable lines."""
        return tuple(judgeable_lines(self.code))


WORKED: tuple[Lesson, ...] = (
    Lesson(
        "The cause, not the symptom",
        "Write a function to count the vowels in a text, in capital letters too.",
        ('count_vowels("Echo") == 2', 'count_vowels("") == 0'),
        "def count_vowels(text):\n"
        "    count = 0\n"
        "    for letter in text:\n"
        '        if letter in "aeiou":\n'
        "            count += 1\n"
        "    return count\n",
        (4,),
        "The E of Echo is not counted, so line 6 returns 1. Yet lines 5 and 6 are right: they count and return "
        'what they are given. Line 4 is the one to edit: `if letter.lower() in "aeiou":`.',
    ),
    Lesson(
        "A line is missing",
        "Write a function to return the words of a text that occur more than once, each one once.",
        ('repeated("to be or not to be") == ["to", "be"]',),
        "def repeated(text):\n"
        "    seen, found = [], []\n"
        "    for word in text.split():\n"
        "        if word in seen and word not in found:\n"
        "            found.append(word)\n"
        "    return found\n",
        (5,),
        "No word is ever put into `seen`. The line `seen.append(word)` belongs between lines 5 and 6, so line 5, right "
        "above the gap, is marked. Line 4 only finds nothing because of that.",
    ),
    Lesson(
        "Two mistakes, two lines",
        "Write a function to return the average of the positive numbers in a list, or 0 if there are none.",
        ("positive_mean([4, -1, 2]) == 3", "positive_mean([-5]) == 0"),
        "def positive_mean(numbers):\n"
        "    chosen = [number for number in numbers if number >= 0]\n"
        "    if not chosen:\n"
        "        return None\n"
        "    return sum(chosen) / len(chosen)\n",
        (2, 4),
        "Zero is not positive, so line 2 has to say `number > 0`; that no example shows it makes it no less wrong. "
        "And line 4 has to return 0. Mending one of them leaves the other.",
    ),
    Lesson(
        "Nothing is wrong",
        "Write a function to return the second largest of the different numbers in a list, or None.",
        ("second_largest([4, 9, 7]) == 7", "second_largest([5, 5]) is None"),
        "def second_largest(numbers):\n"
        "    # largest first\n"
        "    ordered = sorted(set(numbers), reverse=True)\n"
        "    if len(ordered) < 2:\n"
        "        return None\n"
        "    return ordered[1]\n",
        (),
        "Sorting all of it is more work than needed, and you might have written it in another way. Neither is an "
        "error. Comments and blank lines are not judged; they cannot be marked.",
    ),
)
"""Shown in the guide with their answers."""

TRAINING: tuple[Lesson, ...] = (
    Lesson(
        "One wrong line",
        "Write a function to return the average of a list of numbers, or 0 for an empty list.",
        ("average([2, 4]) == 3", "average([]) == 0"),
        "def average(numbers):\n"
        "    if not numbers:\n"
        "        return 1\n"
        "    total = sum(numbers)\n"
        "    return total / len(numbers)\n",
        (3,),
        "An empty list has to give 0, and line 3 gives 1. The question that line 2 asks is the right one.",
    ),
    Lesson(
        "Nothing is wrong",
        "Write a function to tell whether a word reads the same backwards, whatever the case of its letters.",
        ('is_palindrome("Level") is True', 'is_palindrome("lemon") is False'),
        "def is_palindrome(word):\n    word = word.lower()\n    return word == word[::-1]\n",
        (),
        "Each line does its part: line 2 takes the case away, and `word[::-1]` is the word backwards. When you have "
        "looked at every line and found nothing, say so; the key is n.",
    ),
    Lesson(
        "Two wrong lines",
        "Write a function to return the numbers from 1 to n that are multiples of 3 or of 5, n included.",
        ("multiples(6) == [3, 5, 6]", "multiples(2) == []"),
        "def multiples(n):\n"
        "    found = []\n"
        "    for number in range(1, n):\n"
        "        if number % 3 == 0 and number % 5 == 0:\n"
        "            found.append(number)\n"
        "    return found\n",
        (3, 4),
        "Each for its own reason: `range(1, n)` in line 3 leaves n out, and `and` in line 4 asks for multiples of both."
        " Line 5 is right: it keeps whatever line 4 lets through.",
    ),
)
"""Answered by every annotator before work begins, with feedback; they count for nothing."""
