"""The outbox, with a store on this disk as the server."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from processes import copy_ready_store

from emotion_lightning.tracking import outbox, store


def test_a_folder_whose_removal_was_killed_is_not_sent_again(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_ready_store(in_tmp_path)
    server, root = MlflowClient(store.local()), in_tmp_path / "mlruns" / "outbox"
    run_id = server.create_run("0").info.run_id
    box = outbox.Outbox(root / run_id, server)
    box.client.log_metric(box.run_id, "test/uar", 0.5)
    box.client.set_terminated(box.run_id)

    def killed(*folder: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            box.close(10)
    run = server.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.metrics == {"test/uar": 0.5}
    assert [folder.name for folder in root.glob("[!.]*")] == []
    outbox.send_unsent(root, server)
    assert server.get_run(run_id).info.status == "FINISHED" and not list(root.glob("*.sent"))
