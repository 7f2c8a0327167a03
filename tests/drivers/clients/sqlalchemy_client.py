"""SQLAlchemy 2: reflection, core and ORM over psycopg 3, psycopg 2, pg8000 and asyncpg."""

import asyncio
import logging
import ssl

import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from common import *


class Base(orm.DeclarativeBase):
    metadata = sa.MetaData(schema="app")


class Author(Base):
    __tablename__ = "authors"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(), primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    tags: orm.Mapped[list] = orm.mapped_column(postgresql.ARRAY(sa.String), default=list)
    extra: orm.Mapped[dict] = orm.mapped_column(postgresql.JSONB, default=dict)
    born: orm.Mapped[datetime.date | None]
    mood: orm.Mapped[str] = orm.mapped_column(sa.Enum("sad", "ok", "happy", name="mood", schema="app", create_type=False), default="ok")
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", cascade="all, delete-orphan", order_by="Book.id")


class Book(Base):
    __tablename__ = "books"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(), primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(80), index=True)
    price: orm.Mapped[float | None] = orm.mapped_column(sa.Numeric(8, 2))
    version: orm.Mapped[int] = orm.mapped_column(default=1)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(Author.id))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")
    __mapper_args__ = {"version_id_col": version}


def url(driver):
    return sa.URL.create(f"postgresql+{driver}", USER, PASSWORD, HOST, int(PORT), DATABASE)


def arguments(driver):
    if driver in ("pg8000", "asyncpg"):
        context = False
        if TLS:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return {"ssl_context": context or None} if driver == "pg8000" else {"ssl": context}
    return {}


def work(session):
    log("orm")
    session.add_all([Author(name=f"author {n}", tags=[f"t{n}"], extra={"n": n}, born=datetime.date(2000, 1, n), mood="happy", books=[Book(title=f"book {n}.{k}", price=n + k / 4) for k in range(3)]) for n in range(1, 8)])
    session.commit()
    for option in (orm.selectinload, orm.joinedload, orm.subqueryload):
        log([(a.name, a.tags, a.extra, a.mood, [(b.title, b.price) for b in a.books]) for a in session.scalars(sa.select(Author).options(option(Author.books)).order_by(Author.id)).unique()])
    log(session.execute(sa.select(Author.name, sa.func.count(Book.id), sa.func.sum(Book.price)).join(Author.books).group_by(Author.name).having(sa.func.count() > 2).order_by(Author.name).limit(3)).all())
    log(session.scalars(sa.select(Book.title).where(Book.title.ilike("%1.%"), Book.author_id.in_([1, 2, 3])).order_by(sa.desc(Book.title))).all())
    book = session.scalars(sa.select(Book).where(Book.title == "book 3.1").with_for_update()).one()
    book.price = 99
    session.commit()
    session.delete(session.get(Author, 7))
    session.commit()
    session.add(Author(name="author 1"))
    step("unique", session.commit)
    session.rollback()
    with session.begin_nested():
        session.add(Author(name="nested"))
    session.rollback()
    log(session.execute(sa.update(Book).where(Book.price > 5).values(price=Book.price + 1).returning(Book.id, Book.price)).all()[:3])
    log(session.execute(postgresql.insert(Author).values(name="author 1", tags=[], extra={}).on_conflict_do_update(index_elements=["name"], set_={"extra": {"up": 1}}).returning(Author.id, Author.extra)).all())
    recursive = sa.select(sa.literal(1).label("n")).cte("r", recursive=True)
    recursive = recursive.union_all(sa.select(recursive.c.n + 1).where(recursive.c.n < 5))
    log(session.scalars(sa.select(recursive.c.n)).all())
    log(session.execute(sa.select(Book.title, sa.func.rank().over(partition_by=Book.author_id, order_by=Book.price.desc()))).all()[:2])
    log(sum(1 for _ in session.execute(sa.select(Book).execution_options(yield_per=5)).scalars()))
    session.bulk_insert_mappings(Book, [{"title": f"bulk {n}", "author_id": 1, "price": n} for n in range(1500)])
    log(session.scalar(sa.select(sa.func.count()).select_from(Book)))
    session.rollback()


def main():
    for driver in ("psycopg", "psycopg2", "pg8000"):
        log("===", driver)
        engine = sa.create_engine(url(driver), connect_args=arguments(driver), pool_pre_ping=True)
        Base.metadata.create_all(engine)
        inspector = sa.inspect(engine)
        log(inspector.get_schema_names(), inspector.default_schema_name)
        for table in sorted(inspector.get_table_names("app")):
            if table == "wide":
                continue
            log(table, [(k["name"], str(k["type"]), k["nullable"], k["default"]) for k in inspector.get_columns(table, "app")], inspector.get_pk_constraint(table, "app"), inspector.get_foreign_keys(table, "app"),
                inspector.get_indexes(table, "app"), inspector.get_unique_constraints(table, "app"), inspector.get_check_constraints(table, "app"), inspector.get_table_comment(table, "app"))
        log(inspector.get_view_names("app"), inspector.get_view_definition("cheap", "app"), inspector.get_sequence_names("app"), inspector.get_enums("app"))
        with orm.Session(engine) as session:
            step("work", work, session)
        with engine.connect() as c:
            for statement in ("SELECT 1/0", "SELEC", "SELECT * FROM nowhere"):
                step(statement, c.execute, sa.text(statement))
                c.rollback()
            log(c.execute(sa.text("SELECT :a + 1"), {"a": 1}).all(), c.execute(sa.text("SELECT id FROM items ORDER BY id"), execution_options={"stream_results": True, "max_row_buffer": 50}).fetchmany(3))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            log(c.execute(sa.text("SHOW transaction_isolation")).scalar(), c.get_isolation_level())
        reflected = sa.MetaData(schema="app")
        reflected.reflect(engine, only=["items", "orders", "authors"])
        log(sorted(reflected.tables))
        Base.metadata.drop_all(engine)
        engine.dispose()
    log("=== asyncpg")
    asyncio.run(asynchronous())


async def asynchronous():
    engine = create_async_engine(url("asyncpg"), connect_args=arguments("asyncpg"))
    async with engine.begin() as c:
        await c.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        await session.run_sync(lambda s: step("work", work, s))
        stream = await session.stream(sa.text("SELECT id FROM items ORDER BY id"))
        log(sum([row[0] async for row in stream]))
    async with engine.begin() as c:
        await c.run_sync(Base.metadata.drop_all)
    await engine.dispose()


main()
