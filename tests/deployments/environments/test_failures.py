"""Real outputs of uv, and the sentence a user gets for each."""

from __future__ import annotations

import pytest

from deployments.environments.explaining import explain
from deployments.environments.failures import (
    MAX_EVIDENCE_LINES,
    BuildFailed,
    disk_full,
    out_of_time,
)

NO_SOLUTION = "error: No solution found when resolving dependencies\n"

CONFLICT = NO_SOLUTION + (
    "  cause: Because numba==0.58.0 depends on numpy>=1.21,<1.26 and you require numpy==2.1.*, we can conclude that "
    "your requirements and numba==0.58.0 are incompatible.\n"
    "         And because you require numba==0.58.0, we can conclude that your requirements are unsatisfiable.\n"
)
CHAINED = NO_SOLUTION + (
    "  cause: Because tensorflow==2.12.0 depends on numpy>=1.22,<1.24 and you require tensorflow==2.12.0, we can "
    "conclude that you require numpy>=1.22,<1.24.\n"
    "         And because you require numpy>=2, we can conclude that your requirements are unsatisfiable.\n"
)
SERVER_PIN = NO_SOLUTION + (
    "  cause: Because azureml-inference-server-http==1.4.1 depends on flask>=3.1.0,<3.2.dev0 and you require "
    "azureml-inference-server-http==1.4.1, we can conclude that you require flask>=3.1.0,<3.2.dev0.\n"
    "         And because you require flask==1.0, we can conclude that your requirements are unsatisfiable.\n"
)
TWO_PACKAGES = NO_SOLUTION + (
    "  cause: Because alpha==1.0 depends on shared<2 and beta==3.0 depends on shared>=2, we can conclude that "
    "alpha==1.0 and beta==3.0 are incompatible.\n"
    "         And because you require alpha==1.0 and beta==3.0, we can conclude that your requirements are "
    "unsatisfiable.\n"
)
# uv before 0.10 drew its reports.
DRAWN = (
    "  × No solution found when resolving dependencies:\n"  # noqa: RUF001
    "  ╰─▶ Because numba==0.58.0 depends on numpy>=1.21,<1.26 and you require\n"
    "      numpy==2.1.*, we can conclude that your requirements and numba==0.58.0\n"
    "      are incompatible.\n"
    "      And because you require numba==0.58.0, we can conclude that your\n"
    "      requirements are unsatisfiable.\n"
)
UNKNOWN = NO_SOLUTION + (
    "  cause: Because no-such-package was not found in the package registry and you require no-such-package, we can "
    "conclude that your requirements are unsatisfiable.\n"
)
NO_VERSION = NO_SOLUTION + (
    "  cause: Because there is no version of six==99.0 and you require six==99.0, we can conclude that your "
    "requirements are unsatisfiable.\n"
)
NO_USABLE_WHEEL = NO_SOLUTION + (
    "  cause: Because scikit-learn==1.0 has no usable wheels and you require scikit-learn==1.0, we can conclude that "
    "your requirements are unsatisfiable.\n\n"
    "hint: Wheels are required for `scikit-learn` because building from source is disabled for all packages "
    "(i.e., with `--no-build`)\n"
)
ABI = NO_SOLUTION + (
    "  cause: Because torchvision==0.14.0 has no wheels with a matching Python ABI tag (e.g., `cp311`) and you "
    "require torchvision==0.14.0, we can conclude that your requirements are unsatisfiable.\n\n"
    "hint: You require CPython 3.11 (`cp311`), but we only found wheels for `torchvision` (v0.14.0) with the "
    "following Python ABI tags: `cp37m`, `cp38`, `cp39`, `cp310`\n"
)
ABI_RANGE = NO_SOLUTION + (
    "  cause: Because tensorflow>=2.12.0rc0,<=2.12.1 has no wheels with a matching Python ABI tag (e.g., `cp313`) "
    "and only the following versions of tensorflow are available:\n"
    "             tensorflow<2.12.dev0\n"
    "             tensorflow>=2.12.0rc0,<=2.12.1\n"
    "             tensorflow>2.13.dev0\n"
    "         we can conclude that tensorflow==2.12.* cannot be used.\n"
    "         And because you require tensorflow==2.12.*, we can conclude that your requirements are unsatisfiable.\n"
    "\nhint: You require CPython 3.13 (`cp313`), but we only found wheels for `tensorflow` (v2.12.1) with the "
    "following Python ABI tags: `cp38`, `cp39`, `cp310`, `cp311`\n"
)
NEEDS_PYTHON = NO_SOLUTION + (
    "  cause: Because the current Python version (3.8.18) does not satisfy Python>=3.11 and numpy==2.3.1 depends on "
    "Python>=3.11, we can conclude that numpy==2.3.1 cannot be used.\n"
    "         And because you require numpy==2.3.1, we can conclude that your requirements are unsatisfiable.\n"
)
UNREACHABLE = (
    "error: Request failed after 3 retries in 8.8s\n"
    "  cause: Failed to fetch: http://127.0.0.1:9/simple/inference-schema/\n"
    "  cause: error sending request for url (http://127.0.0.1:9/simple/inference-schema/)\n"
    "  cause: client error (Connect)\n"
    "  cause: tcp connect error\n"
    "  cause: Connection refused (os error 111)\n"
)
SERVER_ERROR = (
    "error: Failed to fetch: http://packages.example/simple/six/\n"
    "  cause: HTTP status server error (503 Service Unavailable) for url (http://packages.example/simple/six/)\n"
)
UNAUTHORISED = NO_SOLUTION + (
    "  cause: Because six was not found in the package registry and you require six, we can conclude that your "
    "requirements are unsatisfiable.\n\n"
    "hint: An index URL (http://packages.example:7401/simple) could not be queried due to a lack of valid "
    "authentication credentials (401 Unauthorized)\n"
)
UNTRUSTED = (
    "error: Failed to fetch: https://packages.example:7443/simple/six/\n"
    "  cause: error sending request for url (https://packages.example:7443/simple/six/)\n"
    "  cause: client error (Connect)\n"
    "  cause: invalid peer certificate: UnknownIssuer\n"
)
OFFLINE = NO_SOLUTION + (
    "  cause: Because requests was not found in the cache and you require requests, we can conclude that your "
    "requirements are unsatisfiable.\n\n"
    "hint: Packages were unavailable because the network was disabled. When the network is disabled, registry "
    "packages may only be read from the cache.\n"
)
OTHER_VERSIONS = NO_SOLUTION + (
    "  cause: Because only scikit-learn<=1.9.1 is available and you require scikit-learn>=99,<100, we can conclude "
    "that your requirements are unsatisfiable.\n"
)
TWICE = NO_SOLUTION + (
    "  cause: Because you require numpy==1.21.0 and numpy==1.26, we can conclude that your requirements are "
    "unsatisfiable.\n"
)
WITH_MARKER = NO_SOLUTION + (
    "  cause: Because pandas==2.2.2 depends on numpy{python_full_version < '3.12'}>=1.23.2 and you require "
    "pandas==2.2.2, we can conclude that you require numpy>=1.23.2.\n"
    "         And because you require numpy==1.21.0, we can conclude that your requirements are unsatisfiable.\n"
)
DISK = (
    "error: Failed to install: numpy-2.1.3-cp311-cp311-manylinux_2_17_x86_64.whl (numpy==2.1.3)\n"
    "  cause: Failed to copy to `/srv/v/lib/python3.11/site-packages/numpy.libs/libgfortran.so.5.0.0`\n"
    "  cause: failed to copy file from a to b: No space left on device (os error 28)\n"
)
MISSING_HEADER = """\
Resolved 1 package in 697ms
   Building badext @ file:///srv/bad
error: Failed to build `badext @ file:///srv/bad`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)

         [stdout]
         running bdist_wheel
         running build_ext
         building 'badext' extension
         gcc -Wsign-compare -DNDEBUG -c x.c -o build/temp.linux-x86_64-cpython-311/x.o

         [stderr]
         x.c:1:10: fatal error: libfoo/missing.h: No such file or directory
             1 | #include <libfoo/missing.h>
               |          ^~~~~~~~~~~~~~~~~~
         compilation terminated.
         error: Command '['gcc', '-c', 'x.c']' returned non-zero exit status 1.

hint: This error likely indicates that you need to install a library that provides `libfoo/missing.h` for `badext`
"""
OLD_SOURCE = """\
error: Failed to build `scikit-learn==1.0`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)

         [stderr]
         Partial import of sklearn during the build process.
         Traceback (most recent call last):
           File "<string>", line 11, in <module>
           File "/x/setuptools/build_meta.py", line 438, in build_wheel
             return _build(['bdist_wheel'])
           File "/x/setuptools/build_meta.py", line 429, in _build
             return self._build_with_temp_dir(
           File "/x/setuptools/build_meta.py", line 410, in _build_with_temp_dir
             self.run_setup()
           File "/x/numpy/distutils/mingw32ccompiler.py", line 28, in <module>
             from distutils.msvccompiler import get_build_version as get_build_msvc_version
         ModuleNotFoundError: No module named 'distutils.msvccompiler'

hint: This error likely indicates that `scikit-learn@1.0` depends on `distutils.msvccompiler`, but doesn't declare it.
"""
GIT = (
    "error: Git operation failed\n"
    "  cause: failed to clone into: cache/git-v1/db/332af4028b2840dc\n"
    "  cause: process didn't exit successfully: `/usr/bin/git fetch` (exit status: 128)\n"
    "         --- stderr\n"
    "         fatal: unable to access 'https://example.invalid/x.git/': Could not resolve host: example.invalid\n"
)


@pytest.mark.parametrize(
    ("output", "code", "sentence"),
    [
        (
            CONFLICT,
            "ImageBuildFailure",
            "numpy 2.1 conflicts with numba 0.58.0: numba 0.58.0 needs numpy >=1.21,<1.26.",
        ),
        (
            DRAWN,
            "ImageBuildFailure",
            "numpy 2.1 conflicts with numba 0.58.0: numba 0.58.0 needs numpy >=1.21,<1.26.",
        ),
        (
            CHAINED,
            "ImageBuildFailure",
            "numpy >=2 conflicts with tensorflow 2.12.0: tensorflow 2.12.0 needs numpy >=1.22,<1.24.",
        ),
        (
            TWO_PACKAGES,
            "ImageBuildFailure",
            "alpha 1.0 conflicts with beta 3.0: the first needs shared <2, the second shared >=2.",
        ),
        (
            UNKNOWN,
            "ImageBuildFailure",
            "Package `no-such-package` does not exist on the package index.",
        ),
        (
            NO_VERSION,
            "ImageBuildFailure",
            "There is no version of six that is ==99.0 on the package index.",
        ),
        (
            NO_USABLE_WHEEL,
            "PythonMismatch",
            "scikit-learn 1.0 has no wheel for Python 3.11 on this machine.",
        ),
        (
            ABI,
            "PythonMismatch",
            "torchvision 0.14.0 has no wheel for Python 3.11 on this machine; "
            "there are wheels for 3.8, 3.9 and 3.10.",
        ),
        (
            NEEDS_PYTHON,
            "PythonMismatch",
            "numpy 2.3.1 needs Python >=3.11, but the environment uses 3.8.",
        ),
        (
            UNREACHABLE,
            "ImageBuildFailure",
            "The package index http://127.0.0.1:9 cannot be reached from this portal.",
        ),
        (SERVER_ERROR, "ImageBuildFailure", "http://packages.example answered with 503."),
        (
            UNAUTHORISED,
            "ImageBuildFailure",
            "http://packages.example:7401 refused the download with 401: "
            "credentials are missing or wrong.",
        ),
        (
            UNTRUSTED,
            "ImageBuildFailure",
            "The certificate of https://packages.example:7443 is not trusted by this portal.",
        ),
        (
            OFFLINE,
            "ImageBuildFailure",
            "This portal works offline and requests is not in its store.",
        ),
        (
            OTHER_VERSIONS,
            "ImageBuildFailure",
            "There is no version of scikit-learn that is >=99,<100 on the package index; there is "
            "scikit-learn <=1.9.1.",
        ),
        (
            TWICE,
            "ImageBuildFailure",
            "numpy is asked for twice, and numpy 1.21.0 and numpy 1.26 exclude each other.",
        ),
        (
            WITH_MARKER,
            "ImageBuildFailure",
            "numpy 1.21.0 conflicts with pandas 2.2.2: pandas 2.2.2 needs numpy >=1.23.2.",
        ),
        (DISK, "DiskFull", "The disk filled up while the environment was built."),
        (
            MISSING_HEADER,
            "ImageBuildFailure",
            "badext has no wheel for Python 3.11 and its build from source failed: "
            "libfoo/missing.h is missing on this machine.",
        ),
        (
            OLD_SOURCE,
            "ImageBuildFailure",
            "scikit-learn 1.0 has no wheel for Python 3.11 and its build from source failed: "
            "ModuleNotFoundError: No module named 'distutils.msvccompiler'.",
        ),
        (
            GIT,
            "ImageBuildFailure",
            "A git address in the environment cannot be fetched from this portal.",
        ),
        ("", "ImageBuildFailure", "The environment could not be built, and uv gave no reason."),
    ],
)
def test_an_output_of_uv_becomes_one_sentence(output: str, code: str, sentence: str) -> None:
    failure = explain(output, python="3.11")
    assert (failure.code, failure.sentence) == (code, sentence)
    assert 1 <= len(failure.fixes) <= 3
    assert len(failure.evidence) <= MAX_EVIDENCE_LINES


def test_a_range_without_wheels_is_named_as_the_user_wrote_it() -> None:
    failure = explain(ABI_RANGE, python="3.13", requirements=["tensorflow==2.12.*"])
    assert failure.sentence == (
        "tensorflow 2.12 has no wheel for Python 3.13 on this machine; "
        "there are wheels for 3.8, 3.9, 3.10 and 3.11."
    )
    assert ("set_python", "3.11") in [(fix.kind, fix.detail) for fix in failure.fixes]


def test_a_conflict_of_pinned_minors_is_named_as_the_user_wrote_it() -> None:
    output = NO_SOLUTION + (
        "  cause: Because numba>=0.58.0rc1,<=0.58.0 depends on numpy>=1.21,<1.26 and you require "
        "numba==0.58.0.*, we can conclude that you require numpy>=1.21,<1.26.\n"
        "         And because you require numpy==2.0.*, we can conclude that your requirements are "
        "unsatisfiable.\n"
    )
    failure = explain(output, requirements=["numba==0.58.0.*", "numpy==2.0.*"])
    assert failure.sentence == (
        "numpy 2.0 conflicts with numba 0.58.0: numba 0.58.0 needs numpy >=1.21,<1.26."
    )


def test_a_python_that_is_too_old_is_named_with_the_pin_of_the_user() -> None:
    output = NEEDS_PYTHON.replace("numpy==2.3.1", "numpy>=2.1.0,<=2.1.3")
    failure = explain(output, python="3.8", requirements=["numpy==2.1.*"])
    assert failure.sentence == "numpy 2.1 needs Python >=3.11, but the environment uses 3.8."


def test_an_unknown_conda_package_keeps_its_conda_name() -> None:
    failure = explain(UNKNOWN, conda_names={"no-such-package": "No_Such_Package"})
    assert (
        failure.sentence == "conda package `No_Such_Package` does not exist on the package index."
    )


def test_a_conflict_with_the_server_package_says_that_it_can_be_left_out() -> None:
    failure = explain(SERVER_PIN)
    assert failure.sentence.startswith(
        "flask 1.0 conflicts with azureml-inference-server-http 1.4.1"
    )
    assert "can be left out" in failure.sentence


def test_a_conflict_offers_the_version_that_fits() -> None:
    assert [(fix.kind, fix.detail) for fix in explain(CONFLICT).fixes][:2] == [
        ("set_pin", "numpy>=1.21,<1.26"),
        ("edit_environment", "numba==0.58.0"),
    ]


def test_only_what_may_pass_by_itself_is_worth_a_retry() -> None:
    assert explain(UNREACHABLE).is_transient
    assert explain(SERVER_ERROR).is_transient
    assert not any(
        explain(text).is_transient for text in (CONFLICT, UNAUTHORISED, UNTRUSTED, DISK)
    )


def test_evidence_of_a_long_traceback_keeps_both_ends() -> None:
    evidence = explain(OLD_SOURCE).evidence
    assert evidence[0] == "error: Failed to build `scikit-learn==1.0`"
    assert evidence[-1].endswith("No module named 'distutils.msvccompiler'")


def test_a_full_disk_is_said_before_a_build_begins() -> None:
    failure = BuildFailed(disk_full(10_000_000, 500_000_000, "/srv/portico")).failure
    assert failure.code == "DiskFull"
    assert "10 MB free" in failure.sentence
    assert "500 MB" in failure.sentence


def test_a_build_out_of_time_shows_its_last_lines() -> None:
    failure = out_of_time(30, [f"line {number}" for number in range(40)])
    assert "longer than 30 s" in failure.sentence
    assert failure.evidence[-1] == "line 39"
    assert len(failure.evidence) == MAX_EVIDENCE_LINES
