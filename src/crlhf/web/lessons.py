"""The guide's worked examples and the training items, with what is wrong in them and why."""

from __future__ import annotations

from typing import NamedTuple

from crlhf.languages.python import judgeable_lines


class Lesson(NamedTuple):
    """A program with known wrong lines: `explanation` says why they are wrong, or why none is."""

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
        "Write a function to count the vowels in a text, in capital letters too.",
        ('count_vowels("Echo") == 2', 'count_vowels("") == 0'),
        "def count_vowels(text):\n"
        "    count = 0\n"
        "    for letter in text:\n"
        '        if letter in "aeiou":\n'
        "            count += 1\n"
        "    return count\n",
        (4,),
        "Line 4 compares the letter as it is, so the E of Echo is not counted. One changed line mends the program: "
        "letter.lower(). The lines after it are right as they stand, although the result is wrong.",
    ),
    Lesson(
        "Write a function to return the second largest of the different numbers in a list, or None.",
        ("second_largest([4, 9, 7]) == 7", "second_largest([5, 5]) is None"),
        "def second_largest(numbers):\n"
        "    # largest first\n"
        "    ordered = sorted(set(numbers), reverse=True)\n"
        "    if len(ordered) < 2:\n"
        "        return None\n"
        "    return ordered[1]\n",
        (),
        "No line is wrong. You might have written it in another way; that is no error. The comment is not judged.",
    ),
)
"""Shown in the guide with their answers."""

TRAINING: tuple[Lesson, ...] = (
    Lesson(
        "Write a function to return the average of a list of numbers, or 0 for an empty list.",
        ("average([2, 4]) == 3", "average([]) == 0"),
        "def average(numbers):\n"
        "    if not numbers:\n"
        "        return 1\n"
        "    total = sum(numbers)\n"
        "    return total / len(numbers)\n",
        (3,),
        "An empty list has to give 0. The rest is right.",
    ),
    Lesson(
        "Write a function to tell whether a word reads the same backwards, whatever the case of its letters.",
        ('is_palindrome("Level") is True', 'is_palindrome("lemon") is False'),
        "def is_palindrome(word):\n    word = word.lower()\n    return word == word[::-1]\n",
        (),
        "No line is wrong. When you have looked at every line and found nothing, say so: press n.",
    ),
    Lesson(
        "Write a function to return the numbers from 1 to n that are multiples of 3 or of 5, n included.",
        ("multiples(6) == [3, 5, 6]", "multiples(2) == []"),
        "def multiples(n):\n"
        "    found = []\n"
        "    for number in range(1, n):\n"
        "        if number % 3 == 0 and number % 5 == 0:\n"
        "            found.append(number)\n"
        "    return found\n",
        (3, 4),
        "Two lines are wrong, each for its own reason: range(1, n) leaves n out, and `and` asks for multiples of both.",
    ),
)
"""Answered by every annotator before work begins, with feedback; they count for nothing."""
