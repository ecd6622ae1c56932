"""The page over HTTP: what is too large is refused by its limit, and who is let in."""

from collections.abc import Iterator

import pytest

from expertjax.checkpoints.load import Model
from expertjax.workshop.server import Served, serve
from expertjax.workshop.studio import Studio

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def served(tiny_gpt2: Model) -> Iterator[Served]:
    made = serve(Studio(tiny_gpt2), port=None)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x" * 10_000_000, "10,000,007 characters; at most 200,000 at a time."),
        ("a line\n" * 1_400_000, "1,400,001 sentences; at most 1,000 at a time."),
    ],
)
def test_ten_megabytes_are_refused_by_the_limit(
    served: Served, text: str, said: str
) -> None:
    client = gradio_client.Client(served.url, verbose=False)
    assert said in client.predict(text, "nothing", api_name="/find")


def test_others_need_the_password(tiny_gpt2: Model) -> None:
    made = serve(Studio(tiny_gpt2), "0.0.0.0", None, "a secret")
    url = made.url.replace("0.0.0.0", "127.0.0.1")
    try:
        for auth in (None, ("anybody", "another")):
            with pytest.raises(Exception, match=r"login|credentials"):
                gradio_client.Client(url, auth=auth, verbose=False)
        client = gradio_client.Client(url, auth=("anybody", "a secret"), verbose=False)
        assert "sentence" in client.predict("", "", api_name="/find")
    finally:
        made.close()
