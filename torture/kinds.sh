# What torture.sh runs, sourced by it: the share of make test, make torture, make torture-full. `torture KIND --help`
# says what a count counts.

#    kind         share                          sample                        full
kind kill         "--count 1500"                 "--count 60000"               "--count 1000000"
kind sigkill      "--count 150"                  "--count 1500"                "--count 10000"
kind suspend      "--count 120"                  "--count 1400"                "--count 10080"
kind power        "--count 60000 --states-per-case 200 --exhaustive 256" "--count 1000000" "--count 10000000"
kind disk         "--fs ext4 --count 6 --scripts 1" "--count 60"               "--count 1000"
kind full         "--on tmpfs --on writeback --count 60" "--on tmpfs --on inodes --count 200" ""
kind full         -                              "--on ext4 --on btrfs --on snapshot --on writeback --count 20" -
kind fault        "--count 400"                  "--count 4000"                ""
kind hostile      "--one-in 400"                 "--one-in 16"                 ""
kind hostile-live "--count 20"                   "--count 400"                 "--count 3000"

# The models under shuttle, deeper than cargo test has them.
if [ "$size" = full ]; then schedules=${DC_SCHEDULES:-1000000}; else schedules=${DC_SCHEDULES:-20000}; fi
other models env DC_SCHEDULES="$schedules" cargo test --quiet --locked -p disk_chan_models

# Every bug on purpose is noticed by somebody.
other plant "$torture" plant --build "$build" --jobs "${JOBS:-2}"

# Memory and threads under checkers, and the fuzzer.
for checker in address thread valgrind; do other sanitize-$checker scripts/sanitize.sh $checker; done
if [ "$size" = full ]; then seconds=${FUZZ_SECONDS:-3600}; else seconds=${FUZZ_SECONDS:-120}; fi
other fuzz torture/fuzz.sh "$seconds"
