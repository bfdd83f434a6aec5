"""The import rules of a MicroPython firmware, checked.

    settings    the TOML file: which modules are always active, C, heavy, expected loaded, small
    source      one file: its imports, where they stand and when they run; what it binds; what it costs
    conditions  which branch of an `if` a build keeps
    tree        all files under the roots, by module name
    graph       what an import loads; closures, chains, cycles
    document    the list of always-active modules in the documentation
    rules       what is a finding
    accepted    findings that somebody accepted, with the reason
    cost        what an import loads, in modules and bytes
    report      findings and costs as text and as JSON
    cli         arguments and exit status
"""

__version__ = "0.1.0"
