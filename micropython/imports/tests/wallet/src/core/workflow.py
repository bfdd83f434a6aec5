from core.loop import queue

tasks = {}
