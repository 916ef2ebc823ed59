"""What all models that can be shared have beside a `save_pretrained`: `push_to_hub`."""

from abc import abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from egowm.checks import checked
from egowm.publish import MESSAGE, check_account, check_names, publish


class OnHub:
    """A model that an export can be written of, and so a repository of the Hugging Face hub."""

    @abstractmethod
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write an export."""

    @checked
    def push_to_hub(
        self,
        repo_id: str,
        *,
        base: str | None = None,
        licence: str | None = None,
        evaluation: Path | str | None = None,
        private: bool | None = None,
        dtype: torch.dtype | None = None,
        message: str = MESSAGE,
    ) -> str:
        """Export to a repository of the Hugging Face hub, in one commit; returns the commit's hash.

        The repository is made where it is missing. `from_pretrained(repo_id, revision=HASH,
        download=True)` loads it again. The account is that of `hf auth login` or of HF_TOKEN, the
        hub that of HF_ENDPOINT.

        Args:
            repo_id: OWNER/NAME.
            base: Id of the base on the hub, by which others find it, where it lies in a folder
                here; None keeps what the export says, of a path that means nothing elsewhere its
                last name.
            licence: One of the hub's names for licences, such as "apache-2.0", for the card.
            evaluation: Folder or eval.json of `egowm eval`, whose values the card tells.
            private: Of a new repository; None takes the account's own setting.
            dtype: The weights are rounded to it; None keeps theirs.
            message: Of the commit.

        Raises:
            ValueError: No OWNER/NAME or licence of the hub, or a model that has nothing to save.
            OSError: No token, a repository that refuses, no way to the hub; nothing has changed.
        """
        check_account(repo_id)
        check_names(base, licence)
        with TemporaryDirectory(prefix="egowm-push-") as place:
            folder = Path(place) / repo_id.partition("/")[2]
            self.save_pretrained(folder, dtype)
            return publish(folder, repo_id, base, licence, evaluation, private, message)
