"""Build of the compiled kernels; everything else stands in pyproject.toml.

Every ``kernels/<family>/cython_kernels.pyx`` becomes one C file, compiled once for each ISA level. All extensions are optional:
where there is no compiler, fastnn installs without them and uses Numba or the NumPy reference.

``FASTNN_BUILD_ISA=v3`` (or ``v3,v4``) builds fewer levels, ``FASTNN_BUILD_ISA=none`` builds no extension.
"""

import copy
import os
import platform
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
LEVELS = {"v2": ["-march=x86-64-v2"], "v3": ["-march=x86-64-v3"], "v4": ["-march=x86-64-v4"]}
# No -ffast-math: NaN, infinity and denormals must come through. 256-bit vectors reach only half of an AVX-512 core's peak.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-unused-function"]
WIDE = ["-mprefer-vector-width=512"]


def wanted_levels() -> list[str]:
    """ISA levels to build, from FASTNN_BUILD_ISA and the machine."""
    x86_64 = platform.machine().lower() in ("x86_64", "amd64") and os.name == "posix"
    possible = list(LEVELS) if x86_64 else ["baseline"]
    asked = os.environ.get("FASTNN_BUILD_ISA", "").lower().replace(",", " ").split()
    if not asked:
        return possible
    if asked == ["none"]:
        return []
    asked = [name.removeprefix("x86-64-") for name in asked]
    for name in asked:
        if name not in possible:
            sys.exit(f"FASTNN_BUILD_ISA: {name!r} is not one of {', '.join(possible)}, none")
    return asked


def link_tree() -> str:
    """Lay out the sources as they are installed, so that Cython and mypy find ``fastnn.kernels``; the path of that tree."""
    link = ROOT / "build" / "tree" / "fastnn" / "kernels"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(ROOT / "kernels", target_is_directory=True)
    return "build/tree"


def extensions() -> list[Extension]:
    """The extensions to build: two small helpers, and every family's kernels once for each level."""
    levels = wanted_levels()
    if not levels:
        return []
    import numpy
    from Cython.Build import cythonize

    sources = ["kernels/processor.pyx", "kernels/parallel.pyx", *sorted(map(str, Path("kernels").glob("*/cython_kernels.pyx")))]
    modules = [
        Extension(
            "fastnn." + source.removesuffix(".pyx").replace(os.sep, "."),
            [source],
            include_dirs=[numpy.get_include(), "kernels"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            optional=True,
        )
        for source in sources
    ]
    modules = cythonize(modules, build_dir="build/cython", include_path=[link_tree()], nthreads=os.cpu_count() or 1)
    result = []
    for module in modules:
        if not module.name.endswith(".cython_kernels"):
            result.append(module)
            continue
        for level in levels:
            variant = copy.copy(module)
            variant.name = f"{module.name}_{level}"
            # One C file serves all levels; only the name of its entry point differs.
            variant.define_macros = [*module.define_macros, ("PyInit_cython_kernels", f"PyInit_cython_kernels_{level}")]
            variant.extra_compile_args = LEVELS.get(level, [])
            result.append(variant)
    return result


class BuildExtensions(build_ext):
    """Builds in parallel, with OpenMP where the compiler has it, and one folder of object files for each extension."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        self.flags = [flag for flag in FLAGS if self.accepts([flag])]
        self.wide = [flag for flag in WIDE if self.accepts([flag])]
        self.openmp = ["-fopenmp"] if self.accepts(["-fopenmp"]) else []
        if not self.openmp:
            print("fastnn: the compiler has no OpenMP; the kernels will run on one thread")
        for extension in self.extensions:
            extension._needs_stub = False
        super().build_extensions()

    def build_extension(self, extension):
        own = copy.copy(self)  # builds run side by side in threads, and the levels share a source
        own.build_temp = os.path.join(self.build_temp, extension.name)
        wide = self.wide if extension.name.endswith("_v4") else []
        extension.extra_compile_args = [*extension.extra_compile_args, *self.flags, *wide, *self.openmp]
        extension.extra_link_args = [*extension.extra_link_args, *self.openmp, "-Wl,-s"] if os.name == "posix" and sys.platform != "darwin" else [*extension.extra_link_args, *self.openmp]
        build_ext.build_extension(own, extension)

    def accepts(self, flags):
        """Whether the compiler makes a shared library of an empty file with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("int fastnn_probe(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=flags)
                self.compiler.link_shared_object(objects, str(Path(folder) / "probe.so"), extra_postargs=flags)
            except Exception:  # whatever it is, the flag is of no use
                return False
        return True


setup(
    package_dir={"fastnn": "fastnn", "fastnn.kernels": "kernels"},
    packages=["fastnn", *(f"fastnn.{name}" for name in find_packages("fastnn"))]
    + ["fastnn.kernels", *(f"fastnn.kernels.{name}" for name in find_packages("kernels"))],
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions},
)
