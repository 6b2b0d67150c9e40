"""The peer that most would write: FastAPI with SQLAlchemy and pydantic models.

    /usr/bin/python3 bench/fastapi_sqlalchemy_app.py --port P --database URL --seed FILE

Lists, gets, creates and updates agents and tasks as /api/v2 does, with the same rows, in tables
that have the indexes that these need. FILE holds {"agents": [...], "tasks": [...]} as our server
shows them, oldest first. The tables are made in an empty database.

It is given its best: uvicorn with its fast parts (uvloop, httptools), one worker and no access log,
and as many open connections to the database as there are clients. SQLAlchemy's engine without
asyncio, in FastAPI's pool of threads, is what costs least: asyncpg needs about as much CPU here as
psycopg2, and aiosqlite a seventh more than sqlite3.

What our server does besides is left out: nobody logs in, no request is counted, lists have no
total, and a change is neither written to an event log nor followed in other rows.
"""

import argparse
import datetime
import json
import typing
import uuid

import fastapi
import pydantic
import sqlalchemy as sa
import sqlalchemy.orm
import sqlalchemy.pool
import uvicorn

CONNECTIONS = 64  # Fewer than the clients make FastAPI wait for itself, with all threads taken.

Base = sqlalchemy.orm.declarative_base()


def now():
    return datetime.datetime.utcnow()


def new_id():
    return str(uuid.uuid4())


# ---- Tables -----------------------------------------------------------------------------------

class AgentRow(Base):
    __tablename__ = "agents"

    seq = sa.Column(sa.Integer, primary_key=True)
    id = sa.Column(sa.String(36), unique=True, nullable=False, default=new_id)
    name = sa.Column(sa.String(255), nullable=False)
    type = sa.Column(sa.String(100), nullable=False)
    status = sa.Column(sa.String(20), nullable=False, default="active")
    current_task = sa.Column(sa.String(500))
    configuration = sa.Column(sa.JSON, nullable=False)
    metrics = sa.Column(sa.JSON, nullable=False)
    tags = sa.Column(sa.JSON, nullable=False)
    metadata_ = sa.Column("metadata", sa.JSON, nullable=False)
    created_at = sa.Column(sa.DateTime, nullable=False, default=now)
    updated_at = sa.Column(sa.DateTime, nullable=False, default=now, onupdate=now)

    __table_args__ = (sa.Index("agents_by_status", "status", "seq"),
                      sa.Index("agents_by_type", "type", "seq"))


class TaskRow(Base):
    __tablename__ = "tasks"

    seq = sa.Column(sa.Integer, primary_key=True)
    id = sa.Column(sa.String(36), unique=True, nullable=False, default=new_id)
    title = sa.Column(sa.String(500), nullable=False)
    description = sa.Column(sa.Text, nullable=False)
    status = sa.Column(sa.String(20), nullable=False)
    priority = sa.Column(sa.String(20), nullable=False)
    assigned_agent = sa.Column(sa.String(255))
    workflow_id = sa.Column(sa.String(36))
    task_type = sa.Column(sa.String(100))
    tags = sa.Column(sa.JSON, nullable=False)
    metadata_ = sa.Column("metadata", sa.JSON, nullable=False)
    estimated_duration = sa.Column(sa.Integer)
    actual_duration = sa.Column(sa.Integer)
    started_at = sa.Column(sa.DateTime)
    completed_at = sa.Column(sa.DateTime)
    dependencies = sa.Column(sa.JSON, nullable=False)
    dependents = sa.Column(sa.JSON, nullable=False, default=list)
    progress = sa.Column(sa.Float, nullable=False)
    result = sa.Column(sa.JSON)
    created_by = sa.Column(sa.String(255))
    created_at = sa.Column(sa.DateTime, nullable=False, default=now)
    updated_at = sa.Column(sa.DateTime, nullable=False, default=now, onupdate=now)
    due_date = sa.Column(sa.DateTime)

    __table_args__ = (sa.Index("tasks_by_status", "status", "seq"),
                      sa.Index("tasks_by_agent", "assigned_agent", "seq"))


# ---- Models -----------------------------------------------------------------------------------

Texts = list[str]
Time = datetime.datetime


class Configuration(pydantic.BaseModel):
    model: str = "claude-3-sonnet"
    tools: Texts = ["read", "write", "edit"]
    capabilities: Texts = []
    max_tokens: int = 4096
    temperature: float = 0.7
    timeout: int = 300
    custom_instructions: typing.Optional[str] = None
    environment_vars: dict[str, str] = {}


class Metrics(pydantic.BaseModel):
    tasks_completed: int = 0
    tasks_failed: int = 0
    success_rate: float = 0.0
    avg_response_time: float = 0.0
    uptime_percentage: float = 100.0
    total_runtime: float = 0.0
    error_count: int = 0
    last_activity: typing.Optional[Time] = None


class AgentCreate(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=255)
    type: str = pydantic.Field(min_length=1, max_length=100)
    configuration: Configuration = Configuration()
    tags: Texts = []
    metadata: dict = {}


class AgentUpdate(pydantic.BaseModel):
    name: typing.Optional[str] = pydantic.Field(None, min_length=1, max_length=255)
    status: typing.Optional[str] = None
    tags: typing.Optional[Texts] = None
    metadata: typing.Optional[dict] = None


class Agent(pydantic.BaseModel):
    id: str
    name: str
    type: str
    status: str
    current_task: typing.Optional[str] = None
    configuration: Configuration
    metrics: Metrics
    tags: Texts
    metadata: dict = pydantic.Field(alias="metadata_")
    created_at: Time
    updated_at: Time

    class Config:
        orm_mode = True


class Dependency(pydantic.BaseModel):
    task_id: str
    dependency_type: str = "blocking"


class TaskCreate(pydantic.BaseModel):
    title: str = pydantic.Field(min_length=1, max_length=500)
    description: str = ""
    status: str = "pending"
    priority: str = "medium"
    assigned_agent: typing.Optional[str] = None
    tags: Texts = []
    metadata: dict = {}
    estimated_duration: typing.Optional[int] = pydantic.Field(None, ge=1)
    dependencies: list[Dependency] = []
    progress: float = pydantic.Field(0.0, ge=0, le=100)
    due_date: typing.Optional[Time] = None


class TaskUpdate(pydantic.BaseModel):
    title: typing.Optional[str] = pydantic.Field(None, min_length=1, max_length=500)
    description: typing.Optional[str] = None
    status: typing.Optional[str] = None
    priority: typing.Optional[str] = None
    assigned_agent: typing.Optional[str] = None
    tags: typing.Optional[Texts] = None
    metadata: typing.Optional[dict] = None
    actual_duration: typing.Optional[int] = pydantic.Field(None, ge=1)
    progress: typing.Optional[float] = pydantic.Field(None, ge=0, le=100)
    due_date: typing.Optional[Time] = None


class Task(pydantic.BaseModel):
    id: str
    title: str
    description: str
    status: str
    priority: str
    assigned_agent: typing.Optional[str] = None
    workflow_id: typing.Optional[str] = None
    task_type: typing.Optional[str] = None
    tags: Texts
    metadata: dict = pydantic.Field(alias="metadata_")
    estimated_duration: typing.Optional[int] = None
    actual_duration: typing.Optional[int] = None
    started_at: typing.Optional[Time] = None
    completed_at: typing.Optional[Time] = None
    dependencies: list[Dependency]
    dependents: Texts
    progress: float
    result: typing.Any
    created_by: typing.Optional[str] = None
    created_at: Time
    updated_at: Time
    due_date: typing.Optional[Time] = None

    class Config:
        orm_mode = True


# ---- Routes -----------------------------------------------------------------------------------

def build(sessions):
    app = fastapi.FastAPI()

    def get_session():
        with sessions() as session:
            yield session

    Session = fastapi.Depends(get_session)

    def find(session, row_class, id_):
        query = sa.select(row_class).where(row_class.id == id_)
        row = session.execute(query).scalar_one_or_none()
        if row is None:
            raise fastapi.HTTPException(404, f"{id_} not found")
        return row

    def newest(session, query, row_class, skip, limit):
        query = query.order_by(row_class.seq.desc()).offset(skip).limit(limit)
        return session.execute(query).scalars().all()

    def change(session, row, update):
        for name, value in update.dict(exclude_unset=True).items():
            setattr(row, "metadata_" if name == "metadata" else name, value)
        session.commit()
        return row

    def add(session, row):
        session.add(row)
        session.commit()
        return row

    @app.get("/api/v2/agents", response_model=list[Agent], response_model_by_alias=False)
    def list_agents(status: typing.Optional[str] = None, type: typing.Optional[str] = None,
                    skip: int = fastapi.Query(0, ge=0),
                    limit: int = fastapi.Query(100, ge=1, le=1000), session=Session):
        query = sa.select(AgentRow)
        if status is not None:
            query = query.where(AgentRow.status == status)
        if type is not None:
            query = query.where(AgentRow.type == type)
        return newest(session, query, AgentRow, skip, limit)

    @app.get("/api/v2/agents/{agent_id}", response_model=Agent, response_model_by_alias=False)
    def get_agent(agent_id: str, session=Session):
        return find(session, AgentRow, agent_id)

    @app.post("/api/v2/agents", response_model=Agent, response_model_by_alias=False,
              status_code=201)
    def create_agent(body: AgentCreate, session=Session):
        fields = body.dict(exclude={"metadata"})
        return add(session, AgentRow(metadata_=body.metadata, metrics={}, **fields))

    @app.put("/api/v2/agents/{agent_id}", response_model=Agent, response_model_by_alias=False)
    def update_agent(agent_id: str, body: AgentUpdate, session=Session):
        return change(session, find(session, AgentRow, agent_id), body)

    @app.get("/api/v2/tasks", response_model=list[Task], response_model_by_alias=False)
    def list_tasks(status: typing.Optional[str] = None,
                   assigned_agent: typing.Optional[str] = None,
                   skip: int = fastapi.Query(0, ge=0),
                   limit: int = fastapi.Query(100, ge=1, le=1000), session=Session):
        query = sa.select(TaskRow)
        if status is not None:
            query = query.where(TaskRow.status == status)
        if assigned_agent is not None:
            query = query.where(TaskRow.assigned_agent == assigned_agent)
        return newest(session, query, TaskRow, skip, limit)

    @app.get("/api/v2/tasks/{task_id}", response_model=Task, response_model_by_alias=False)
    def get_task(task_id: str, session=Session):
        return find(session, TaskRow, task_id)

    @app.post("/api/v2/tasks", response_model=Task, response_model_by_alias=False,
              status_code=201)
    def create_task(body: TaskCreate, session=Session):
        fields = body.dict(exclude={"metadata"})
        return add(session, TaskRow(metadata_=body.metadata, created_by="bench", **fields))

    @app.put("/api/v2/tasks/{task_id}", response_model=Task, response_model_by_alias=False)
    def update_task(task_id: str, body: TaskUpdate, session=Session):
        return change(session, find(session, TaskRow, task_id), body)

    return app


# ---- The database -----------------------------------------------------------------------------

def connect(url):
    # Before SQLAlchemy 2, files are opened anew for each session where nothing else is said.
    is_sqlite = url.startswith("sqlite:")
    engine = sa.create_engine(
        url, poolclass=sqlalchemy.pool.QueuePool, pool_size=CONNECTIONS, max_overflow=0,
        connect_args={"check_same_thread": False} if is_sqlite else {})
    if is_sqlite:
        sa.event.listen(engine, "connect", set_up_sqlite)
    return engine


def set_up_sqlite(connection, _):
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def fill(engine, records):
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        for table in (AgentRow.__table__, TaskRow.__table__):
            rows = [row_values(table, shown) for shown in records[table.name]]
            connection.execute(table.insert(), rows)


def row_values(table, shown):
    """The values of a table's columns from one record as our server shows it."""
    values = {}
    for column in table.columns:
        if column.name == "seq":
            continue
        value = shown[column.name]
        if isinstance(column.type, sa.DateTime) and value is not None:
            value = Time.fromisoformat(value.removesuffix("Z"))
        values[column.key] = value
    return values


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--seed", required=True)
    arguments = parser.parse_args()
    engine = connect(arguments.database)
    with open(arguments.seed, encoding="utf-8") as file:
        fill(engine, json.load(file))
    app = build(sqlalchemy.orm.sessionmaker(engine, expire_on_commit=False))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, loop="uvloop", http="httptools",
                workers=1, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
