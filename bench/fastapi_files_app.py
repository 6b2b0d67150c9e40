"""The peer that most would write for files: FastAPI on uvicorn, uploads by UploadFile.

    /usr/bin/python3 bench/fastapi_files_app.py --port P --folder FOLDER

It checks nothing and hashes nothing: an upload is copied from where the form's parser has put it
into the folder, a download is Starlette's FileResponse. uvicorn runs with its fast parts (uvloop,
httptools), one worker and no access log.
"""

import argparse
import pathlib
import shutil

import fastapi
import fastapi.responses
import uvicorn

COPY_BYTES = 1 << 20


def build(folder):
    app = fastapi.FastAPI()

    @app.post("/upload")
    def upload(files: list[fastapi.UploadFile]):
        for file in files:
            with open(folder / pathlib.PurePath(file.filename).name, "wb") as target:
                shutil.copyfileobj(file.file, target, COPY_BYTES)
        return {"total_uploaded": len(files)}

    @app.get("/files/{name}")
    def download(name: str):
        return fastapi.responses.FileResponse(folder / pathlib.PurePath(name).name)

    return app


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    uvicorn.run(build(arguments.folder), host="127.0.0.1", port=arguments.port, loop="uvloop",
                http="httptools", workers=1, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
