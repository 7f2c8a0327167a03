"""Object-relational mappers at their ordinary work, so that a server logs what they say.

Usage: orm.py NAME HOST PORT USER DATABASE, with NAME one of sqlalchemy, django, peewee. The tables are a small shop's; each
mapper makes them, fills them, asks, changes, looks at the catalog and drops them, in its own words."""

import datetime
import decimal
import sys
import types


def with_sqlalchemy(host, port, user, database):
    import sqlalchemy as sa
    from sqlalchemy import orm
    from sqlalchemy.dialects import postgresql as pg

    class Base(orm.DeclarativeBase):
        pass

    tags = sa.Table("sa_product_tag", Base.metadata, sa.Column("product_id", sa.ForeignKey("sa_product.id", ondelete="CASCADE"), primary_key=True),
                    sa.Column("tag", sa.String(40), primary_key=True))

    class Customer(Base):
        __tablename__ = "sa_customer"
        id = sa.Column(sa.BigInteger, primary_key=True)
        name = sa.Column(sa.String(80), nullable=False, index=True)
        mail = sa.Column(sa.Text, unique=True)
        profile = sa.Column(pg.JSONB)
        since = sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now())
        orders = orm.relationship("Order", back_populates="customer", cascade="all, delete-orphan")

    class Product(Base):
        __tablename__ = "sa_product"
        id = sa.Column(sa.Integer, sa.Identity(), primary_key=True)
        title = sa.Column(sa.Text, nullable=False)
        price = sa.Column(sa.Numeric(10, 2), sa.CheckConstraint("price >= 0"))
        sizes = sa.Column(pg.ARRAY(sa.Integer))
        twice = sa.Column(sa.Numeric, sa.Computed("price * 2"))

    class Order(Base):
        __tablename__ = "sa_order"
        id = sa.Column(sa.Integer, sa.Sequence("sa_order_seq", metadata=Base.metadata), primary_key=True)
        customer_id = sa.Column(sa.ForeignKey("sa_customer.id"), nullable=False)
        product_id = sa.Column(sa.ForeignKey("sa_product.id"))
        amount = sa.Column(sa.Integer, default=1)
        state = sa.Column(sa.Enum("new", "paid", "sent", name="sa_state"), default="new")
        customer = orm.relationship(Customer, back_populates="orders")
        product = orm.relationship(Product)

    engine = sa.create_engine(f"postgresql+psycopg://{user}@{host}:{port}/{database}?sslmode=disable")
    from psycopg import ClientCursor
    plain = sa.create_engine(f"postgresql+psycopg://{user}@{host}:{port}/{database}?sslmode=disable",
                             connect_args={"cursor_factory": ClientCursor})
    for number, engine in enumerate((engine, plain)):
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        with orm.Session(engine) as session:
            people = [Customer(name=f"n{i}", mail=f"{i}@example.org", profile={"a": {"b": i}}) for i in range(20)]
            goods = [Product(title=f"p{i}", price=decimal.Decimal(i), sizes=[i, i + 1]) for i in range(10)]
            session.add_all(people + goods)
            session.flush()
            session.add_all(Order(customer=people[i % 20], product=goods[i % 10], amount=i) for i in range(60))
            session.execute(tags.insert(), [{"product_id": one.id, "tag": "red"} for one in goods[:3]])
            session.commit()
        with orm.Session(engine) as session:
            select = sa.select
            session.scalars(select(Customer).where(Customer.name.ilike("N1%")).order_by(Customer.name.desc()).limit(5).offset(1)).all()
            session.scalars(select(Customer).options(orm.selectinload(Customer.orders).joinedload(Order.product))).unique().all()
            session.scalars(select(Order).options(orm.joinedload(Order.customer), orm.subqueryload(Order.product))).all()
            session.execute(select(Customer.name, sa.func.count(Order.id), sa.func.sum(Order.amount).filter(Order.state == "new"))
                            .join(Order, isouter=True).group_by(Customer.name).having(sa.func.count() > 1)).all()
            latest = select(Order.customer_id, sa.func.row_number().over(partition_by=Order.customer_id, order_by=Order.id.desc()).label("n"),
                            Order.amount).cte("latest")
            session.execute(select(latest).where(latest.c.n == 1)).all()
            tree = select(sa.literal(1).label("n")).cte("tree", recursive=True)
            session.execute(select(tree.union_all(select(tree.c.n + 1).where(tree.c.n < 5)))).all()
            session.execute(select(Customer).where(Customer.orders.any(Order.amount > 3), ~Customer.orders.any(Order.state == "sent"))).all()
            session.execute(select(Customer.id).where(Customer.id.in_(select(Order.customer_id))).union(select(Product.id))).all()
            session.execute(select(Customer.profile["a"]["b"].astext, Customer.profile.contains({"a": 1}))).all()
            session.execute(select(Product).where(Product.sizes.any(3), sa.cast(Product.price, sa.Integer).between(1, 5))).all()
            side = select(Order).where(Order.customer_id == Customer.id).order_by(Order.id).limit(1).lateral("side")
            session.execute(select(Customer.name, side.c.amount).join(side, sa.true())).all()
            session.execute(select(sa.case((Order.amount > 5, "many"), else_="few"), sa.func.coalesce(Order.amount, 0),
                                   sa.extract("year", sa.func.now()), sa.func.array_agg(pg.aggregate_order_by(Order.id, Order.amount.desc())))
                            .group_by(Order.amount, Order.state)).all()
            session.execute(select(Order).with_for_update(skip_locked=True, of=Order).limit(1)).all()
            session.execute(select(sa.func.generate_series(1, 3).table_valued("n", name="g").render_derived())).all()
            session.execute(sa.values(sa.column("a", sa.Integer), name="v").data([(1,), (2,)]).select()).all()
            session.execute(select(sa.tablesample(Customer.__table__, 50))).all()
            session.execute(pg.insert(Customer).values(id=1, name="x", mail="m").on_conflict_do_update(
                index_elements=["id"], set_={"name": pg.insert(Customer).excluded.name}, where=Customer.name != "y").returning(Customer.id))
            session.execute(pg.insert(tags).from_select(["product_id", "tag"], select(Product.id, sa.literal("new"))).on_conflict_do_nothing())
            session.execute(sa.update(Order).where(Order.customer_id == Customer.id, Customer.name == "n1").values(amount=Order.amount + 1))
            session.execute(sa.update(Order).values(state="paid").where(Order.id == select(sa.func.max(Order.id)).scalar_subquery()).returning(Order.id))
            session.execute(sa.delete(Order).where(Order.amount < 2).returning(Order.id))
            gone = sa.delete(tags).where(tags.c.tag == "new").returning(tags.c.product_id).cte("gone")
            session.execute(select(sa.func.count()).select_from(gone))
            with session.begin_nested():
                session.get(Customer, 2).name = "renamed"
            session.delete(session.get(Customer, 3))
            session.commit()
            session.connection(execution_options={"isolation_level": "SERIALIZABLE"}).execute(sa.text("SELECT 1"))
            session.rollback()
        looks = sa.inspect(engine)
        for table in looks.get_table_names():
            for look in (looks.get_columns, looks.get_foreign_keys, looks.get_indexes, looks.get_pk_constraint, looks.get_check_constraints,
                         looks.get_unique_constraints, looks.get_table_comment):
                look(table)
        looks.get_view_names(), looks.get_schema_names(), looks.get_sequence_names(), looks.get_enums()
        sa.MetaData().reflect(engine)
        with engine.connect() as connection, connection.execution_options(stream_results=True).execute(sa.text("SELECT * FROM sa_order")) as rows:
            rows.fetchmany(3)
        Base.metadata.drop_all(engine)


def with_django(host, port, user, database):
    import django
    from django.conf import settings

    settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django.contrib.admin",
                                       "django.contrib.messages"],
                       DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": database, "USER": user, "HOST": host, "PORT": port,
                                              "OPTIONS": {"sslmode": "disable"}}},
                       USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", SECRET_KEY="none",
                       TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}], SILENCED_SYSTEM_CHECKS=["admin.E403", "admin.E409"])
    django.setup()
    from django.apps import AppConfig, apps
    from django.contrib.auth.models import Group, Permission, User
    from django.contrib.sessions.models import Session
    from django.core.management import call_command
    from django.db import connection, models, transaction
    from django.db.models import Avg, Case, Count, Exists, F, Max, OuterRef, Prefetch, Q, Subquery, Sum, Value, When, Window
    from django.db.models.functions import Coalesce, Concat, ExtractYear, Lower, RowNumber, TruncMonth
    from django.utils import timezone
    import io

    call_command("migrate", verbosity=0)
    call_command("inspectdb", stdout=io.StringIO())
    call_command("sqlflush", stdout=io.StringIO())

    class Item(models.Model):
        title = models.CharField(max_length=40, db_index=True)
        price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
        facts = models.JSONField(default=dict)
        owner = models.ForeignKey(User, models.CASCADE, null=True, related_name="items")
        made = models.DateTimeField(default=timezone.now)

        class Meta:
            app_label = "shop"
            db_table = "dj_item"
            constraints = [models.UniqueConstraint(fields=["title", "owner"], name="dj_item_once"),
                           models.CheckConstraint(condition=Q(price__gte=0), name="dj_item_price")]

    # An application that is only this model.
    sys.modules["shop"] = types.ModuleType("shop")
    sys.modules["shop"].__path__ = []
    shop = type("Shop", (AppConfig,), {"path": "."})("shop", sys.modules["shop"])
    shop.apps, shop.models = apps, apps.all_models["shop"]
    apps.app_configs["shop"] = shop
    apps.clear_cache()
    with connection.schema_editor() as editor:
        editor.create_model(Item)
    people = User.objects.bulk_create([User(username=f"u{i}", email=f"{i}@example.org", password="!") for i in range(12)])
    group = Group.objects.create(name="staff")
    group.permissions.set(Permission.objects.all()[:5])
    people[0].groups.add(group)
    people[0].user_permissions.add(*Permission.objects.filter(codename__startswith="add"))
    Item.objects.bulk_create([Item(title=f"t{i}", price=i, facts={"k": {"v": i}, "list": [i]}, owner=people[i % 12]) for i in range(40)])
    Item.objects.bulk_create([Item(title="t1", owner=people[1], price=7)], update_conflicts=True, unique_fields=["title", "owner"], update_fields=["price"])
    Item.objects.bulk_create([Item(title="t2", owner=people[2])], ignore_conflicts=True)
    list(Item.objects.filter(Q(title__icontains="T") | Q(price__range=(1, 3)), owner__isnull=False).exclude(price=2).select_related("owner")[2:7])
    list(User.objects.prefetch_related(Prefetch("items", Item.objects.order_by("-price")), "groups__permissions"))
    list(User.objects.annotate(n=Count("items", distinct=True), dear=Max("items__price")).filter(n__gt=1).values("username", "n", "dear"))
    list(Item.objects.values("owner").annotate(total=Sum("price"), mean=Avg("price", filter=Q(price__gt=2))).order_by("owner"))
    list(User.objects.filter(Exists(Item.objects.filter(owner=OuterRef("pk"), price__gt=30))))
    list(User.objects.annotate(last=Subquery(Item.objects.filter(owner=OuterRef("pk")).order_by("-made").values("title")[:1])))
    list(Item.objects.annotate(place=Window(RowNumber(), partition_by=[F("owner")], order_by=F("price").desc())).filter(place=1))
    list(Item.objects.filter(facts__k__v__gt=3, facts__has_key="list").values_list("facts__k", flat=True))
    list(Item.objects.annotate(month=TruncMonth("made"), year=ExtractYear("made"), low=Lower("title"), both=Concat("title", Value("-"), "owner__username"),
                               kind=Case(When(price__gt=5, then=Value("dear")), default=Value("cheap")), any=Coalesce("price", Value(0), output_field=models.DecimalField()))[:3])
    list(Item.objects.filter(price=1).union(Item.objects.filter(price=2), all=True).order_by("title"))
    list(Item.objects.distinct("owner").order_by("owner", "-price"))
    list(Item.objects.raw("SELECT * FROM dj_item WHERE price > %s", [3]))
    Item.objects.aggregate(Sum("price"), n=Count("*"), newest=Max("made"))
    Item.objects.filter(price__gt=F("id")).update(price=F("price") + 1)
    Item.objects.filter(owner__username="u3").update(title=Concat("title", Value("!")))
    Item.objects.update_or_create(title="t5", owner=people[5], defaults={"price": 9})
    Item.objects.get_or_create(title="none", owner=None)
    Item.objects.bulk_update(list(Item.objects.all()[:3]), ["price"])
    Session.objects.create(session_key="k", session_data="d", expire_date=timezone.now() + datetime.timedelta(days=1))
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    with transaction.atomic():
        list(Item.objects.select_for_update(skip_locked=True, of=("self",)).select_related("owner").filter(owner__isnull=False)[:2])
        with transaction.atomic():
            people[3].delete()
    Item.objects.filter(price__lt=3).delete()
    User.objects.filter(items__price__gt=30).delete()
    print(Item.objects.filter(price=1).explain(analyze=True), file=io.StringIO())
    for rows in Item.objects.all().iterator(chunk_size=5):
        str(rows)
    field = models.TextField(null=True)
    field.set_attributes_from_name("note")
    renamed = models.CharField(max_length=99, db_index=True)
    renamed.set_attributes_from_name("heading")
    field.model = renamed.model = Item
    with connection.schema_editor() as editor:
        editor.add_field(Item, field)
        editor.alter_field(Item, Item._meta.get_field("title"), renamed)
        editor.add_index(Item, models.Index(fields=["price"], name="dj_item_by_price", condition=Q(price__gt=1)))
        editor.remove_field(Item, field)
        editor.alter_db_table(Item, "dj_item", "dj_item_b")
        editor.alter_db_table(Item, "dj_item_b", "dj_item")
    call_command("flush", verbosity=0, interactive=False)
    with connection.schema_editor() as editor:
        editor.delete_model(Item)
    call_command("migrate", "admin", "zero", verbosity=0)
    call_command("migrate", "auth", "zero", verbosity=0)


def with_peewee(host, port, user, database):
    import peewee as pw
    from playhouse.postgres_ext import ArrayField, BinaryJSONField
    from playhouse.migrate import PostgresqlMigrator, migrate
    from playhouse.reflection import Introspector

    db = pw.PostgresqlDatabase(database, host=host, port=int(port), user=user, sslmode="disable", prefer_psycopg3=True)

    class Base(pw.Model):
        class Meta:
            database = db

    class Person(Base):
        name = pw.CharField(index=True)
        mail = pw.CharField(unique=True, null=True)
        born = pw.DateField(null=True)

        class Meta:
            table_name = "pw_person"

    class Note(Base):
        person = pw.ForeignKeyField(Person, backref="notes", on_delete="CASCADE")
        text = pw.TextField(default="")
        facts = BinaryJSONField(default=dict)
        words = ArrayField(pw.IntegerField, null=True)
        made = pw.DateTimeField(default=datetime.datetime.now)

        class Meta:
            table_name = "pw_note"
            indexes = ((("person", "made"), False),)

    db.connect()
    db.drop_tables([Person, Note], safe=True, cascade=True)
    db.create_tables([Person, Note])
    with db.atomic():
        Person.insert_many([{"name": f"p{i}", "mail": f"{i}@example.org"} for i in range(15)]).execute()
        people = list(Person.select())
        for i in range(30):
            Note.create(person=people[i % 15], text=f"t{i}", facts={"a": i}, words=[i])
    list(Person.select().where((Person.name ** "P%") & (Person.born.is_null())).order_by(Person.name.desc()).paginate(2, 5))
    list(Person.select(Person, pw.fn.COUNT(Note.id).alias("n")).join(Note, pw.JOIN.LEFT_OUTER).group_by(Person).having(pw.fn.COUNT(Note.id) > 1))
    list(pw.prefetch(Person.select(), Note.select()))
    list(Note.select(Note, Person).join(Person).where(Note.person.in_(Person.select().where(Person.id < 5))))
    list(Note.select(Note.text, pw.fn.RANK().over(partition_by=[Note.person], order_by=[Note.id]).alias("r")))
    cte = Note.select(Note.person, pw.fn.MAX(Note.id).alias("last")).group_by(Note.person).cte("newest", columns=("person_id", "last"))
    list(Person.select(Person.name, cte.c.last).join(cte, on=(cte.c.person_id == Person.id)).with_cte(cte))
    list(Person.select(Person.name) | Note.select(Note.text))
    list(Note.select(pw.Case(None, [(Note.id > 3, "many")], "few"), pw.fn.COALESCE(Note.text, "-"), Note.facts["a"]))
    list(Person.select().where(pw.fn.EXISTS(Note.select().where(Note.person == Person.id))))
    list(Person.select().for_update("FOR UPDATE SKIP LOCKED"))
    Person.insert(name="x", mail="1@example.org").on_conflict(conflict_target=[Person.mail], update={Person.name: pw.EXCLUDED.name}).execute()
    Person.insert(name="x", mail="2@example.org").on_conflict_ignore().execute()
    Note.insert_from(Note.select(Note.person, Note.text, Note.facts, Note.made).limit(2), [Note.person, Note.text, Note.facts, Note.made]).returning(Note.id).execute()
    Note.update(text=Note.text.concat("!")).where(Note.id < 4).execute()
    Note.update(text=Person.name).from_(Person).where(Note.person == Person.id).execute()
    Person.get_or_create(name="new")
    with db.atomic(), db.savepoint():
        people[3].delete_instance(recursive=True)
    Note.delete().where(Note.id > 20).returning(Note.id).execute()
    Introspector.from_database(db).generate_models(table_names=["pw_person", "pw_note"])
    mover = PostgresqlMigrator(db)
    migrate(mover.add_column("pw_person", "extra", pw.TextField(null=True)), mover.rename_column("pw_person", "extra", "more"),
            mover.drop_column("pw_person", "more"), mover.add_index("pw_note", ("text",), False), mover.add_not_null("pw_person", "name"))
    Note.truncate_table(restart_identity=True, cascade=True)
    db.drop_tables([Person, Note], cascade=True)
    db.close()


if __name__ == "__main__":
    {"sqlalchemy": with_sqlalchemy, "django": with_django, "peewee": with_peewee}[sys.argv[1]](*sys.argv[2:])
