"""What other memory plugins and trackers are known to have got wrong, or to leave out, by numbers.

Each number is a test `test_NUMBER_...` in this folder, or is waiting for a feature; one that is only
partly waiting is both. test_defects.py checks that none is forgotten.
"""

from __future__ import annotations

DEFECTS = {
    "1": "A marker of the module overrides that of the function.",
    "2": "Binary units, numbers and unknown keywords of a marker end the whole run.",
    "3": "Junk after a size is accepted; a unit that does not exist ends the run.",
    "4": "Without pytest's cache, limits end the run.",
    "5": "Keys of the ini file have no effect.",
    "6": "A run that failed its limit becomes the baseline of the next.",
    "7": "One byte of growth fails, in a sentence whose two numbers look the same.",
    "8": "Markers on methods of unittest.TestCase do nothing: subtests, setUp, coroutines.",
    "9": "What a fixture allocates is not counted, and nothing says so.",
    "10": "xfail does not see a passed limit, and strict calls it a test that passed.",
    "11": "A test that skips late, or fails, does not tell its peak.",
    "12": "Two kinds of limit on one test are an error.",
    "13": "What child processes use passes any limit in silence.",
    "14": "A test that measures something itself fails while it is measured.",
    "15": "Mappings that take no memory count as memory.",
    "16": "The verdict of a test depends on the tests before it.",
    "17": "A thread that an earlier test left behind fails an innocent test.",
    "18": "Leaving other tests' threads out leaves out the test's own as well.",
    "19": "A leak is shown without the Python line that makes it.",
    "20": "The tracker writes to the standard error of the tested program.",
    "21": "Whatever a first import, regular expression or log call keeps is a leak.",
    "22": "The JUnit file breaks, or lacks the places, when a limit fails.",
    "23": "Rerun plugins and the tracker get in each other's way.",
    "24": "Long names of tests, paths and parameters break files.",
    "25": "The plugin's own warnings fail under -W error and strict markers.",
    "26": "A report about empty allocations divides by zero.",
    "27": "Coroutine tests are skipped, or not measured, while the plugin is on.",
    "28": "Results of xdist's workers are missing, or count the workers' own threads.",
    "29": "A session of thousands of measured tests grows and grows.",
    "30": "Warnings raised late, after a measured test, crash.",
    "31": "Starting and stopping beside threads that run, start and end crashes.",
    "32": "Starting while another thread is inside a trace function crashes.",
    "33": "Starting and stopping beside an event loop in a thread, under coverage, crashes.",
    "34": "Profile functions that come and go crash, or make stacks wrong.",
    "35": "Threads without the GIL race; foreign threads are booked on the main one.",
    "36": "Threads older than the measurement have no stacks.",
    "37": "A fork or spawn breaks the child, or takes the parent's data away.",
    "38": "Captures of forked children with threads and pools cannot be read.",
    "39": "Green threads: wrong stacks, late imports, monkey-patching in mid-measurement.",
    "40": "Deadlocks with the loader: libraries opened or walked over by other threads.",
    "41": "A library is no longer found by the RUNPATH of the one that opens it.",
    "42": "Entry points are forgotten: aligned blocks, resizes of mappings, sized frees.",
    "43": "Sudden ends of the process, and signals in mid-allocation.",
    "44": "A full disk, or a killed process, leaves no readable capture.",
    "45": "A damaged capture crashes its reader, or fills its memory.",
    "46": "Code objects without a file name, with odd ones, and other alphabets.",
    "47": "A hook allocates inside of a hook; no room for thread-local storage.",
    "48": "Native frames: interpreters that call by tail calls, inlined and stripped code.",
    "49": "Totals that do not add up: of a line, of the peak, of report and limit.",
    "50": "Free-threaded and other allocators: frees that nobody pairs with their block.",
    "51": "The program's environment, path or interpreter is changed by being tracked.",
    "52": "A block that crosses from one allocator to another crashes.",
    "52a": "Profilers and coverage fail under the plugin, or are left incomplete.",
}

#: Numbers without a test yet, and the feature that they wait for.
WAITING = {
    "21": "runs before the measured one, and repeated runs of a test",
    "38": "capture files that follow forks",
    "44": "capture files",
    "45": "capture files",
    "48": "native stacks",
}

#: Numbers with a test, of which a part waits.
PARTLY = {
    "5": "the key `native` waits for native stacks",
    "6": "only pytest's cache is a baseline; committed files wait for that feature",
    "7": "a growth within a tolerance waits for tolerances",
    "9": "counting fixtures waits for limits that include them",
    "13": "counting children waits for measured child processes; they are told of now",
    "24": "folders of artifacts wait for capture files",
    "37": "children that are followed wait for capture files",
    "40": "preloaded allocators are in tests/core, and nothing here preloads",
    "42": "free_sized and free_aligned_sized need a newer C library; tests/core calls the hooks",
    "47": "no room for thread-local storage is in tests/library",
    "49": "peaks of a time window wait for capture files",
    "50": "runs as it is on free-threaded interpreters: make test-matrix",
}
