import sys

from bench.suites.run import main

sys.exit(main())
