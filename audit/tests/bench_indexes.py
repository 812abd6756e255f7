"""What each index costs the writer and gives the reader, at a million events."""
import time, statistics
import psycopg, pytest
from config.tests.plugin import DATABASE, ROLES, server
from config.tests.population import populate_book
from audit import book
from audit.book import personal_digest
from uuid_utils.compat import uuid7
import os, json
from datetime import datetime, UTC

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
SETS = {
  "none": "",
  "type": "CREATE INDEX b1 ON audit_logs (type, id);",
  "type+ip": "CREATE INDEX b1 ON audit_logs (type, id); CREATE INDEX b2 ON audit_personal_data (ip_address, id);",
  "type+ip+req": "CREATE INDEX b1 ON audit_logs (type, id); CREATE INDEX b2 ON audit_personal_data (ip_address, id); CREATE INDEX b3 ON audit_logs (request_id);",
}
DROP = "DROP INDEX IF EXISTS b1; DROP INDEX IF EXISTS b2; DROP INDEX IF EXISTS b3;"

def test_bench(superuser):
    t=time.time(); populate_book(superuser, events=1_000_000); print("populate", time.time()-t)
    superuser.execute("VACUUM ANALYZE audit_logs"); superuser.execute("VACUUM ANALYZE audit_personal_data")
    print(superuser.execute("select pg_size_pretty(sum(pg_total_relation_size(inhrelid))) from pg_inherits where inhparent='audit_logs'::regclass").fetchone(), superuser.execute("select pg_size_pretty(pg_total_relation_size('audit_personal_data'))").fetchone())
    res={k:[] for k in SETS}; wal={}
    for rnd in range(3):
        for name, ddl in SETS.items():
            superuser.execute(DROP); 
            if ddl: superuser.execute(ddl)
            superuser.execute("CHECKPOINT")
            n=6000
            rows=[]
            for i in range(n):
                eid=uuid7(); salt=os.urandom(16)
                rows.append({"id":eid,"creator_id":uuid7(),"at":datetime.now(UTC),"type":["login.succeeded","login.failed","session.ended","profile.updated"][i%4],"request_id":uuid7().hex,"detail":"{}","digest":salt*2,"salt":salt,"ip_address":f"10.{os.urandom(1)[0]}.{os.urandom(1)[0]}.1","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","email":"a@b.c"})
            with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as c:
                q=book._INSERT
                for r in rows[:200]: c.execute(q, r, prepare=True)
                w0=superuser.execute("select pg_current_wal_insert_lsn()").fetchone()[0]
                t=time.perf_counter()
                for r in rows[200:]: c.execute(q, r, prepare=True)
                d=time.perf_counter()-t
                w=superuser.execute("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)",[w0]).fetchone()[0]
            res[name].append((n-200)/d); wal[name]=float(w)/(n-200)
    for k in SETS: print(k, [round(x) for x in res[k]], "wal/event", round(wal[k]))
    superuser.execute(SETS["type+ip+req"].replace("INDEX ","INDEX IF NOT EXISTS "))
    print(superuser.execute("select relname, pg_size_pretty(pg_relation_size(oid)) from pg_class where relkind='i' and (relname like '%%audit%%' or relname like 'b_%%') order by pg_relation_size(oid) desc limit 12").fetchall())
    superuser.execute("VACUUM ANALYZE audit_logs"); superuser.execute("VACUUM ANALYZE audit_personal_data")
    types=["login.succeeded","login.failed","account.locked","token.reused","password.reset","password.reset_requested","breach_check.failed","registration.requested"]
    from audit.views import lowest_id
    from datetime import timedelta
    now=datetime.now(UTC).replace(minute=0,second=0,microsecond=0)+timedelta(hours=1)
    bounds=[lowest_id(now-timedelta(hours=h)) for h in range(168,-1,-1)]
    qs={
     "bucket":("SELECT type, width_bucket(id, %(b)s::uuid[]) AS hour, count(*) FROM audit_logs WHERE type = ANY(%(t)s) AND id >= %(lo)s AND id < %(hi)s GROUP BY 1,2", dict(b=bounds,t=types,lo=bounds[0],hi=bounds[-1])),
     "lateral":("SELECT t.type, h.n, c.count FROM unnest(%(lo)s::uuid[], %(hi)s::uuid[]) WITH ORDINALITY h(lo,hi,n) CROSS JOIN unnest(%(t)s::text[]) t(type) CROSS JOIN LATERAL (SELECT count(*) FROM audit_logs WHERE type=t.type AND id>=h.lo AND id<h.hi) c", dict(lo=bounds[:-1],hi=bounds[1:],t=types)),
     "attrunc":("SELECT type, date_trunc('hour', at), count(*) FROM audit_logs WHERE id >= %(lo)s AND id < %(hi)s GROUP BY 1,2", dict(lo=bounds[0],hi=bounds[-1])),
     "tops":("""WITH f AS MATERIALIZED (SELECT p.ip_address, p.email, p.creator_id FROM (SELECT id FROM audit_logs WHERE type='login.failed' AND id >= %(lo)s ORDER BY id DESC LIMIT 50000) l JOIN audit_personal_data p USING (id))
       (SELECT host(ip_address), count(*), count(DISTINCT email) FROM f GROUP BY 1 ORDER BY 2 DESC LIMIT 10) UNION ALL (SELECT email, count(*), count(DISTINCT ip_address) FROM f GROUP BY 1 ORDER BY 2 DESC LIMIT 10)""", dict(lo=bounds[0])),
     "topsall":("""WITH f AS MATERIALIZED (SELECT p.ip_address, p.email, p.creator_id FROM (SELECT id FROM audit_logs WHERE type='login.failed' AND id >= %(lo)s ) l JOIN audit_personal_data p USING (id))
       (SELECT host(ip_address), count(*), count(DISTINCT email) FROM f GROUP BY 1 ORDER BY 2 DESC LIMIT 10) UNION ALL (SELECT email, count(*), count(DISTINCT ip_address) FROM f GROUP BY 1 ORDER BY 2 DESC LIMIT 10)""", dict(lo=bounds[0])),
    }
    with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as c:
        for name,(q,p) in qs.items():
            ts=[]
            for _ in range(5):
                t=time.perf_counter(); r=c.execute(q,p).fetchall(); ts.append(time.perf_counter()-t)
            print(name, len(r), [round(x*1000) for x in ts])
            print("\n".join(x[0] for x in c.execute("EXPLAIN (ANALYZE, BUFFERS, TIMING off) "+q,p).fetchall()))
        for cond,p in {"request_id='019f1234567870008000000000000000'":(), "type='token.reused'":(), "type='login.failed'":(), "id IN (SELECT id FROM audit_personal_data WHERE ip_address='198.51.100.3')":(), "id IN (SELECT id FROM audit_personal_data WHERE ip_address >= '198.51.100.0' and ip_address <='198.51.100.255')":(),"id IN (SELECT id FROM audit_personal_data WHERE ip_address='10.1.2.3')":(), "type='account.locked' AND id IN (SELECT id FROM audit_personal_data WHERE ip_address='198.51.100.3')":()}.items():
            q=f"SELECT * FROM audit_logs WHERE id >= '{bounds[0]}' AND {cond} ORDER BY id DESC LIMIT 51"
            t=time.perf_counter(); r=c.execute(q).fetchall(); d=time.perf_counter()-t
            print(cond, len(r), round(d*1000,1)); print("\n".join(x[0] for x in c.execute("EXPLAIN "+q).fetchall()))
    # and without the request index
    superuser.execute("DROP INDEX b3; DROP INDEX b2"); 
    with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as c:
        for cond in ["request_id='019f1234567870008000000000000000'","id IN (SELECT id FROM audit_personal_data WHERE ip_address='10.1.2.3')"]:
            q=f"SELECT * FROM audit_logs WHERE id >= '{bounds[0]}' AND {cond} ORDER BY id DESC LIMIT 51"
            t=time.perf_counter(); r=c.execute(q).fetchall(); d=time.perf_counter()-t
            print("noindex",cond, len(r), round(d*1000,1))
