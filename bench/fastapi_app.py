"""The peer that most would write: FastAPI on uvicorn, one agent in a dict.

    /usr/bin/python3 bench/fastapi_app.py --port P --agent FILE

Serves the JSON of the file at /api/v2/agents/{its id}. uvicorn runs with its fast parts (uvloop,
httptools), one worker and no access log; the handler checks nothing and returns a plain dict, so no
model is validated on the way out: what FastAPI itself costs, and no more.
"""

import argparse
import json

import fastapi
import uvicorn


def build(agent):
    app = fastapi.FastAPI()
    agents = {agent["id"]: agent}

    @app.get("/api/v2/agents/{agent_id}")
    async def get_agent(agent_id: str):
        found = agents.get(agent_id)
        if found is None:
            raise fastapi.HTTPException(404, f"Agent {agent_id} not found")
        return found

    return app


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--agent", required=True)
    arguments = parser.parse_args()
    with open(arguments.agent, encoding="utf-8") as file:
        app = build(json.load(file))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, loop="uvloop", http="httptools",
                workers=1, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
