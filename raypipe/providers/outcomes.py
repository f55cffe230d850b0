"""What became of a vendor's job: the file it made, or the error that says why there is none and what to do."""

from typing import Any

from raypipe.errors import ContentRefused, DeliveryExpired, DeliveryNotFetched, ProviderRejected
from raypipe.providers.answers import QUOTED, is_about_content
from raypipe.providers.base import Work
from raypipe.providers.known import KnownModels
from raypipe.providers.outputs import address_in, is_blacked_out


class JobOutcomes(KnownModels):
    """A vendor whose answers about jobs are read."""

    def file_of(self, job_id: str, work: Work, output: Any) -> str:
        """Find the address of what a job made in what the vendor says of it: a text, an object or a list of either.

        Raises:
            ContentRefused: The vendor says that its content filter has blacked it out.
            DeliveryNotFetched: There is no address.
        """
        if is_blacked_out(output, work.kind):
            raise ContentRefused(
                f"the content filter of {self.name} has blacked out what the job {job_id} made: change the prompt"
            )
        address = address_in(output, work.kind)
        if address is None:
            raise self.not_fetched(job_id, f"raypipe finds no address in its output {output!r:.{QUOTED}}")
        return address

    def failure(self, job_id: str, word: object, said: object) -> ProviderRejected:
        """Name the error of a job that ended without what was asked for.

        Args:
            job_id: The job.
            word: The vendor's word for its state.
            said: Its words for what was wrong.
        """
        kind = ContentRefused if is_about_content(said) else ProviderRejected
        return kind(f"{self.name} says that the job {job_id} is {word}: {said!s:.{QUOTED}}")

    def not_fetched(self, job_id: str, why: str) -> DeliveryNotFetched:
        """Say that what a job made, and was paid for, is not found or leads nowhere."""
        return DeliveryNotFetched(
            f"{self.name} made it, and was paid (job {job_id}), but {why}; "
            "retrying the video asks for the same job again, and pays nothing"
        )

    def expired(self, job_id: str, why: str) -> DeliveryExpired:
        """Say that what a job made is gone."""
        return DeliveryExpired(
            f"{self.name} made it, and was paid, but does not have it any more (job {job_id}: {why}); "
            "retrying the video has it made, and paid, again"
        )
