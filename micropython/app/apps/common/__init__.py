# Imported by workflows, forgotten at their end.
