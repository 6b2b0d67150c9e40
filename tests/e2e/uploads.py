"""Uploading, and what lies on the disk afterwards: for all tests of files."""

from hostile_uploads import END, FORM, part

FILES = "/api/v2/files"


def stored(server):
    """The paths of all contents, and of what is being received."""
    folder = server.folder / "uploads"
    return {path for path in folder.rglob("*") if path.is_file() and path.name != ".owner"}


def send(client, body, file_type="data_files", content_type=FORM):
    headers = {"Content-Type": content_type} if content_type else {}
    return client.post(f"{FILES}/upload/{file_type}", body=body, headers=headers)


def upload(client, name="a.txt", content=b"text", file_type="data_files", **fields):
    body = part(filename=name, content=content)
    for field, text in fields.items():
        body += part(name=field, filename=None, content=text.encode())
    answer = send(client, body + END, file_type)
    assert answer.status == 200, answer
    return answer.json()["files"][0]
