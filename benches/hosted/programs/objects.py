"""Objects, dictionaries, strings, JSON and regular expressions, made and dropped, with every object from malloc
(PYTHONMALLOC=malloc). Prints what it found, the same on every allocator."""

import json
import re

state = 12345


def rnd(below):
    global state
    state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return (state >> 8) % below


class Node:
    def __init__(self, key, value):
        self.key = key
        self.value = value
        self.left = None
        self.right = None


def insert(root, key, value):
    if root is None:
        return Node(key, value)
    node = root
    while True:
        if key == node.key:
            node.value = value
            return root
        side = "left" if key < node.key else "right"
        below = getattr(node, side)
        if below is None:
            setattr(node, side, Node(key, value))
            return root
        node = below


def total(node):
    stack, found = [node], 0
    while stack:
        node = stack.pop()
        if node is not None:
            found += len(node.value)
            stack += [node.left, node.right]
    return found


root = None
for i in range(30000):
    root = insert(root, rnd(1 << 20), "value %d of %d" % (i, rnd(100)))

words = {}
for i in range(40000):
    word = "w%d" % rnd(5000)
    words.setdefault(word, []).append((i, "line %d" % i))
for word in sorted(words)[::3]:
    del words[word]

rows = [{"id": i, "name": "row %d" % rnd(1000), "cells": [rnd(100) for _ in range(rnd(12))]} for i in range(15000)]
text = json.dumps(rows)
again = json.loads(text)
found = len(re.findall(r"row \d+7\b", text))
parts = [piece.upper() for piece in text.split(",") if piece]
joined = ";".join(sorted(set(parts)))

print(total(root), len(words), sum(len(lines) for lines in words.values()), len(text), again == rows, found, len(joined))
