import argparse, os
def main():
    from tests.bench.__main__ import prepare_django
    p=argparse.ArgumentParser(); p.add_argument("n", type=int); p.add_argument("--fresh", action="store_true"); a=p.parse_args()
    prepare_django()
    from tests.bench.full.database import open_database
    from tests.bench.full.fill import said
    with said():
        print(open_database(a.n, fresh=a.fresh))
main()
