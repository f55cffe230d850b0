"""The embedded provider: paints pictures, films them and plays music on the CPU, with no model and no key."""

from typing import ClassVar

from raypipe.artifacts import ArtifactStore
from raypipe.models import Kind, Spec
from raypipe.providers.base import ClipWork, ComputeProvider, ImageWork, Media, Model, Price, Work
from raypipe.providers.local import clips, words


class LocalProvider(ComputeProvider):
    """Paints layered scenes that a prompt's words choose. The same work gives the same frames."""

    name: ClassVar[str] = "local"
    num_cpus: ClassVar[float] = 1

    @classmethod
    def notes(cls, spec: Spec) -> tuple[str, ...]:
        """Name what there is no picture for."""
        return words.notes_on(spec)

    @classmethod
    def models(cls) -> tuple[Model, ...]:
        """One model for each kind of work, which costs nothing."""
        return tuple(Model(name=cls.name, kind=kind, exact=True, price=Price(usd=0)) for kind in Kind)

    def generate(self, work: Work, store: ArtifactStore) -> Media:
        """Paint the image, film the clip or compose the music.

        Raises:
            MediaError: A start image cannot be read.
        """
        if isinstance(work, ImageWork):
            return Media(data=clips.storyboard_image(work), media_type="image/png")
        if isinstance(work, ClipWork):
            assert work.start is not None  # noqa: S101 - the gateway has filled it in
            return Media(data=clips.clip(work, store.get(work.start)), media_type="video/mp4")
        from raypipe.providers.local import music

        return music.compose(work.job.mood, work.job.prompt, work.job.seed, work.seconds)
