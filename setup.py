"""Build of the compiled kernels; everything else stands in pyproject.toml.

Every ``kernels/<family>/cython_kernels.pyx`` becomes one C file, compiled once for each ISA level. All extensions are optional:
where there is no compiler, fastnn installs without them and uses Numba or the NumPy reference.

``FASTNN_BUILD_ISA=v3`` (or ``v3,v4``) builds fewer levels, ``FASTNN_BUILD_ISA=none`` builds no extension.
"""

import copy
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
LEVELS = {
    "v2": ["-march=x86-64-v2"],
    "v3": ["-march=x86-64-v3"],
    # 256-bit vectors, GCC's choice, reach only half of an AVX-512 core's peak.
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
# Each is used where the compiler takes it. No -ffast-math: NaN, infinity and denormals must come through.
COMPILE = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-unused-function"]
LINK = ["-Wl,-s"]  # without symbols
OPENMP = ["-fopenmp"]


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


def link_tree() -> None:
    """Lay out the sources as they are installed, so that Cython and mypy find ``fastnn.kernels`` in build/tree."""
    link = ROOT / "build" / "tree" / "fastnn" / "kernels"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(ROOT / "kernels", target_is_directory=True)


def extensions() -> list[Extension]:
    """The extensions to build: a few small helpers, and every family's kernels once for each level."""
    levels = wanted_levels()
    if not levels:
        return []
    families = [
        extension(f"kernels/{path.parent.name}/cython_kernels.pyx", level)
        for path in sorted(Path("kernels").glob("*/cython_kernels.pyx"))
        for level in levels
    ]
    helpers = [
        extension(f"kernels/{name}.pyx")
        for name in ("processor", "parallel", "entry", "pullback", "boundary", "remembered", "executor", "guard", "shortcut")
    ]
    return [*helpers, *families]


def extension(source: str, level: str = "") -> Extension:
    """The extension of one Cython source; a level is a suffix of its name."""
    module = source.removesuffix(".pyx").replace("/", ".")
    name = module.rpartition(".")[2]
    # One C file serves all levels; only the name of its entry point differs.
    entry = [(f"PyInit_{name}", f"PyInit_{name}_{level}")] if level else []
    return Extension(
        f"fastnn.{module}_{level}" if level else f"fastnn.{module}",
        [source],
        include_dirs=["kernels"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), *entry],
        depends=["setup.py", *map(str, Path("kernels").glob("simd/*.h"))],
        extra_compile_args=LEVELS.get(level, []),
        optional=True,
    )


class CleanBuild(build):
    """A build that starts from an empty folder: a file deleted since, or a level not asked for, has no place in the wheel."""

    def run(self) -> None:
        """Empty the folder, then build."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildExtensions(build_ext):
    """Builds in parallel, with OpenMP where the compiler has it, and one folder of object files for each extension."""

    def finalize_options(self) -> None:
        """Use all processors."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        """Translate the Cython sources, find out what the compiler can do, then build."""
        import numpy
        from Cython.Build import cythonize

        sources = sorted({extension.sources[0] for extension in self.extensions})
        modules = [Extension("fastnn." + path.removesuffix(".pyx").replace("/", "."), [path]) for path in sources]
        translated = cythonize(modules, build_dir="build/cython", include_path=["build/tree"], nthreads=self.parallel)
        c_files = dict(zip(sources, [module.sources for module in translated], strict=True))
        compile_flags = [flag for flag in COMPILE if self.accepts(flag)]
        link_flags = [flag for flag in LINK if self.accepts(flag)]
        openmp = [flag for flag in OPENMP if self.accepts(flag)]
        if not openmp:
            print("fastnn: the compiler has no OpenMP; the kernels will run on one thread")
        for extension in self.extensions:
            extension.sources = c_files[extension.sources[0]]
            extension.include_dirs.append(numpy.get_include())
            # The processor is asked before OpenMP's settings are made, which are read when its library is loaded.
            threads = [] if extension.name.endswith(".processor") else openmp
            extension.extra_compile_args = [*compile_flags, *extension.extra_compile_args, *threads]
            extension.extra_link_args = [*link_flags, *threads]
        super().build_extensions()

    def build_extension(self, extension: Extension) -> None:
        """Build with an object folder of the extension's own: builds run side by side, and the levels share a source."""
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, extension.name)
        super(BuildExtensions, own).build_extension(extension)

    def accepts(self, flag: str) -> bool:
        """Whether the compiler makes a shared library of an empty file with this flag."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("int fastnn_probe(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=[flag])
                self.compiler.link_shared_object(objects, str(Path(folder) / "probe.so"), extra_postargs=[flag])
            except Exception:  # whatever it is, the flag is of no use
                return False
        return True


link_tree()
setup(
    package_dir={"fastnn": "fastnn", "fastnn.kernels": "kernels"},
    packages=["fastnn", *(f"fastnn.{name}" for name in find_packages("fastnn"))]
    + ["fastnn.kernels", *(f"fastnn.kernels.{name}" for name in find_packages("kernels"))],
    ext_modules=extensions(),
    cmdclass={"build": CleanBuild, "build_ext": BuildExtensions},
)
