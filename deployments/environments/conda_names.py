"""What conda names differently, and what it has that is no Python package."""

from __future__ import annotations

import re

RENAMED = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "tensorflow-gpu": "tensorflow",
    "tensorflow-base": "tensorflow",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "matplotlib-base": "matplotlib",
    "dask-core": "dask",
    "pytables": "tables",
    "faiss": "faiss-cpu",
    "msgpack-python": "msgpack",
    "pyqt": "pyqt5",
    "psycopg2": "psycopg2-binary",
    "python-graphviz": "graphviz",
    "python-flatbuffers": "flatbuffers",
    "python-xxhash": "xxhash",
    "python-tzdata": "tzdata",
    "python-annoy": "annoy",
    "python-duckdb": "duckdb",
    "python-clickhouse-driver": "clickhouse-driver",
    "uvicorn-standard": "uvicorn[standard]",
    "ray-core": "ray",
    "ray-serve": "ray[serve]",
    "ray-default": "ray[default]",
    "numpy-base": "numpy",
    "scipy-base": "scipy",
    "mlflow-base": "mlflow",
}

# One regular expression a word, matched against whole names: compilers, CUDA, linear algebra and
# messages, libraries below Python packages, programs.
_PATTERNS = r"""
    _libgcc_mutex _openmp_mutex libgcc(-.+|_.+)? libstdcxx(-.+)? libgomp libgfortran.*
    libquadmath (gcc|gxx|gfortran|clang|clangxx|binutils|sysroot|kernel-headers)([-_].+)?
    ld_impl_.+ gdb compilers c-compiler cxx-compiler fortran-compiler make autoconf automake m4
    pkg-config swig
    cuda cuda-(?!python$).+ cudatoolkit(-.+)? cudnn nccl tensorrt-libs pytorch-cuda
    pytorch-mutex cpuonly
    lib(cublas|cufft|curand|cusolver|cusparse|nvjitlink|nvjpeg|npp|cudnn)(-.+)? magma(-.+)?
    blas blas-devel lib(blas|lapack|cblas|lapacke|openblas|hwloc) openblas mkl
    mkl-(devel|include) intel-openmp llvm-openmp libllvm\d* tbb tbb-devel mpi openmpi(-.+)?
    mpich(-.+)? ucx rdma-core
    openssl ca-certificates zlib bzip2 xz zstd lz4-c snappy readline ncurses tk sqlite libsqlite
    libffi
    lib(uuid|nsl|zlib|expat|xml2|xslt|png|tiff|jpeg-turbo|webp|webp-base|protobuf|xgboost|faiss|arrow|iconv)
    lib(curl|ssh2|ev|nghttp2|sodium|spatialindex|boost.*|sndfile|gl|glib|xcb|opencv|torch|tensorflow.*)
    freetype fontconfig jpeg libjpeg giflib icu pcre2? gettext glib cairo pango harfbuzz hdf5
    libnetcdf arrow-cpp _py-xgboost-mutex tzdata-java zeromq boost-cpp gflags glog grpc-cpp
    libgrpc re2 abseil-cpp geos proj gdal-libs libgdal krb5 unixodbc postgresql libpq mysql
    python_abi python-gil
    ffmpeg git git-lfs curl wget bash coreutils tar unzip zip vim nano htop tmux openssh sox
    graphviz nodejs openjdk java-jdk maven go rust perl ruby tesseract poppler imagemagick gawk
    sed nginx supervisor r r-.+ conda mamba conda-pack anaconda nomkl wkhtmltopdf xorg-.+ mesa.*
    alsa-lib docker azure-cli
"""

NOT_PYTHON = re.compile("|".join(_PATTERNS.split()))
