# Knoll's: each workflow is a scope, which collects at its end, and what stays is said to stay.
from knoll import lasting, workflow
