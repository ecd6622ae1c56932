"""A local page to find expert units, look at them and steer with them.

python -m binaries.studio --model=FOLDER
python -m binaries.studio --model=FOLDER --results=OUT/<model_name>
"""

from collections.abc import Sequence

from absl import flags

from binaries.common_flags import (
    define_compile_cache_flag,
    define_ignore_config_flag,
    define_precision_flag,
)
from binaries.path_flags import define_path
from binaries.run_main import run_main
from binaries.usage import heading

FLAGS = flags.FLAGS
heading("Model")
define_path("model", None, "As in find_experts; a causal one can steer.", required=True)
define_path("results", None, "OUT/<model_name> of this model: concepts to begin with.")
define_ignore_config_flag()
define_precision_flag()
define_compile_cache_flag()
flags.DEFINE_integer(
    "memory_bytes", 2**29, "The most that remembered responses take.", lower_bound=1
)
heading("Page")
flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address that it is served at. One that others reach asks for a password: that of "
    "EXPERTJAX_STUDIO_PASSWORD, else a new one, which is shown here.",
)
flags.DEFINE_integer("port", 7860, "Port.", lower_bound=1, upper_bound=65535)


def main(argv: Sequence[str]) -> None:
    """Serves the page until Ctrl-C."""
    del argv
    import expertjax as ej
    from expertjax.runtime.compile_cache import keep_compiled
    from expertjax.workshop.server import serve
    from expertjax.workshop.studio import Studio

    keep_compiled(FLAGS.compile_cache)
    model = ej.load_model(
        FLAGS.model, precision=FLAGS.precision, ignore_config=FLAGS.ignore_config
    )
    results = ej.Expertise.open(FLAGS.results) if FLAGS.results else None
    studio = Studio(model, results, FLAGS.memory_bytes)
    served = serve(studio, FLAGS.host, FLAGS.port)
    print(f"{model.name}: {served.url}", flush=True)
    if served.password:
        print(f"any user name, password {served.password}", flush=True)
    served.wait()


if __name__ == "__main__":
    run_main(main)
