"""Installs expertjax; see README.md."""

from setuptools import find_packages, setup

setup(
    name="expertjax",
    version="0.1.0",
    description="Finds the expert units of transformer models, in JAX.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["expertjax", "expertjax.*", "binaries"]),
    package_data={"expertjax": ["assets/**/*", "report/templates/*"]},
    install_requires=[
        "absl-py>=2.1",
        "flax>=0.12.8",
        "gguf>=0.17",
        "huggingface_hub>=1.0",
        "jax>=0.10.2",
        "jinja2>=3.1",
        "llvmlite>=0.46",
        "matplotlib>=3.9",
        "ml_dtypes>=0.5",
        "numba>=0.63",
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.30",
        "pandas>=2.2",
        "pyarrow>=18",
        "safetensors>=0.5",
        "scipy>=1.14",
        "tensorstore>=0.1.76",
        "tokenizers>=0.22",
        "tqdm>=4.66",
        "transformers>=5.0",
    ],
    extras_require={
        "onnx": ["onnx>=1.17"],
        "test": [
            "mypy>=1.15",
            "onnx>=1.17",
            "pytest>=8",
            "ruff>=0.12",
            "scikit-learn>=1.5",
            "torch==2.13.0",
            "zarr>=3.0",
        ],
    },
)
