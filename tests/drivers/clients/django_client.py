"""Django's ORM: migrations of a model made here, queries, aggregates, transactions, server-side iteration, introspection."""

import sys

import django
from django.conf import settings

from common import *

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_client_app"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": USER, "PASSWORD": PASSWORD, "HOST": HOST, "PORT": PORT, "OPTIONS": {"options": "-c lock_timeout=20000"}}},
    USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", SECRET_KEY="x", PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
import types  # noqa: E402

sys.modules["django_client_app"] = types.ModuleType("django_client_app")  # an application without files of its own
sys.modules["django_client_app"].__path__ = [os.environ["DRIVERS_SCRATCH"]]
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.db.models import Count, F, Q, Sum, Window  # noqa: E402
from django.db.models.functions import Rank, Upper  # noqa: E402


class Shelf(models.Model):
    name = models.CharField(max_length=40, unique=True)
    data = models.JSONField(default=dict)

    class Meta:
        app_label = "django_client_app"


class Volume(models.Model):
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE, related_name="volumes")
    title = models.TextField(db_index=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    when = models.DateTimeField()
    uuid = models.UUIDField(null=True)
    blob = models.BinaryField(default=b"\x00\xff")

    class Meta:
        app_label = "django_client_app"


def main():
    step("migrate", call_command, "migrate", verbosity=1, stdout=sys.stdout, no_color=True)
    with connection.schema_editor() as editor:
        editor.create_model(Shelf)
        editor.create_model(Volume)
    from django.contrib.auth.models import User
    step("user", lambda: User.objects.create_user("oncall", "a@example.com", "x").pk)
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    shelves = Shelf.objects.bulk_create([Shelf(name=f"shelf {n}", data={"n": n, "l": [n]}) for n in range(5)])
    Volume.objects.bulk_create([Volume(shelf=s, title=f"volume {n}", price=n, when=when + datetime.timedelta(hours=n)) for s in shelves for n in range(20)])
    log(list(Shelf.objects.annotate(n=Count("volumes"), total=Sum("volumes__price")).values_list("name", "n", "total").order_by("name")))
    log([(v.title, v.shelf.name, bytes(v.blob)) for v in Volume.objects.select_related("shelf").filter(Q(price__gt=17) | Q(title__icontains="ME 3")).order_by("id")][:8])
    log([(s.name, len(s.volumes.all())) for s in Shelf.objects.prefetch_related("volumes").order_by("id")])
    log(list(Shelf.objects.filter(data__n__gte=3).annotate(u=Upper("name")).values("u", "data__l").order_by("u")))
    log(list(Volume.objects.annotate(r=Window(Rank(), partition_by="shelf", order_by=F("price").desc())).values_list("title", "r").order_by("id")[:5]))
    log(Volume.objects.filter(price__lt=5).update(price=F("price") + 1), Volume.objects.dates("when", "day")[0], Volume.objects.filter(when__hour=5).count())
    step("unique", lambda: Shelf.objects.create(name="shelf 1"))
    try:
        with transaction.atomic():
            Shelf.objects.create(name="inner")
            with transaction.atomic():
                Shelf.objects.select_for_update().get(name="inner")
            raise ValueError
    except ValueError:
        pass
    log(Shelf.objects.filter(name="inner").exists(), Shelf.objects.get_or_create(name="shelf 9")[1], Shelf.objects.update_or_create(name="shelf 9", defaults={"data": {"x": 1}})[1])
    log(sum(1 for _ in Volume.objects.order_by("id").iterator(chunk_size=7)))
    log(Volume.objects.filter(id__lt=10).explain().splitlines()[0].split("(")[0])
    log(Shelf.objects.get(name="shelf 2").delete())
    with connection.cursor() as cursor:
        introspection = connection.introspection
        log(sorted(t.name for t in introspection.get_table_list(cursor)))
        log(introspection.get_table_description(cursor, "django_client_app_volume"), sorted(introspection.get_constraints(cursor, "django_client_app_volume").items(), key=str), introspection.get_relations(cursor, "django_client_app_volume"))
        cursor.execute("SELECT current_setting('lock_timeout'), %s", ["x"])
        log(cursor.fetchall())
    with connection.schema_editor() as editor:
        field = models.IntegerField(default=7)
        field.set_attributes_from_name("extra")
        editor.add_field(Shelf, field)
        editor.delete_model(Volume)
        editor.delete_model(Shelf)


main()
