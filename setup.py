"""Installs expertjax; see README.md."""

from setuptools import find_packages, setup

setup(
    name="expertjax",
    version="0.2.0",
    description="Finds the expert units of transformer models, in JAX.",
    license="Apache-2.0",
    python_requires=">=3.11",
    # Says no more than the default, but makes an editable installation a path: found
    # before a clone's own folder, which may be called expertjax too.
    package_dir={"": "."},
    packages=find_packages(
        include=["expertjax", "expertjax.*", "binaries", "binaries.*"]
    ),
    package_data={
        "expertjax": [
            "assets/**/*",
            "docs/*",
            "report/templates/**/*",
            "workshop/*.css",
        ]
    },
    install_requires=[
        "absl-py>=2.1",
        "etils[epath]>=1.9",
        "flax>=0.12.8",
        "gguf>=0.17",
        "huggingface_hub>=1.0",
        "jax>=0.10.2",
        "jinja2>=3.1",
        "llvmlite>=0.46",
        "matplotlib>=3.9",
        "ml_dtypes>=0.5",
        "nltk>=3.9",
        "numba>=0.63",
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.30",
        "pandas>=2.2",
        "plotly>=6",
        "pyarrow>=18",
        "safetensors>=0.5",
        "scipy>=1.14",
        "tensorstore>=0.1.76",
        "tokenizers>=0.22",
        "tqdm>=4.66",
        "transformers>=5.0",
    ],
    entry_points={"console_scripts": ["expertjax = binaries.command:main"]},
    extras_require={
        "docs": ["gradio>=6", "pdoc>=15", "zarr>=3.1"],
        "gcs": ["etils[epath-gcs]>=1.9"],
        "onnx": ["onnx>=1.17"],
        "studio": ["gradio>=6"],
        "test": [
            "axe-playwright-python>=0.1.4",
            "compressed-tensors>=0.20",
            "etils[epath-gcs]>=1.9",
            "gradio>=6",
            "ipykernel>=6.29",
            "mypy>=1.15",
            "nbclient>=0.10",
            "onnx>=1.17",
            "pdoc>=15",
            "playwright>=1.50",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            "scikit-learn>=1.5",
            "torch==2.13.0",
            "xarray>=2024.10",
            "zarr>=3.1",
        ],
    },
)
