"""Modules of generated code, in files that are named by all that they say, so that Numba can keep their machine code."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import ModuleType


@functools.cache
def generated_module(name: str, text: str) -> ModuleType:
    """The module with the source ``text``, from Numba's cache folder; without a file where no folder can be written to.

    It stays for good, since plans have the addresses of its machine code.

    The folder's name is the hash of Numba's version, the processor's level and the sources that the code may call, the file's that of
    ``text``: machine code of anything else is never found.
    """
    support = importlib.import_module("fastnn.kernels.numba_support")
    stem = f"{name[:64]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    file = Path(support.cache_folder()) / "operators" / f"{stem}.py"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            new = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            new.write_text(text, encoding="utf-8")
            new.replace(file)
        specification = importlib.util.spec_from_file_location(f"fastnn_operator_{stem}", file)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[module.__name__] = module  # Numba finds the functions of its files by their module's name
        specification.loader.exec_module(module)
    except OSError:
        module = ModuleType(f"fastnn_operator_{stem}")
        sys.modules[module.__name__] = module  # entries import its functions
        exec(compile(text, "<fastnn.operator>", "exec"), vars(module))
    return module
