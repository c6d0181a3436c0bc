# `make help`: from the lines `target: ... ## what it does (what it needs; how long it takes)` a table.
BEGIN { row("TARGET", "TAKES", "NEEDS", "WHAT IT DOES") }
/^[a-z-]+:.*## / {
    target = $1; sub(/:$/, "", target)
    what = $0; sub(/.*## /, "", what)
    needs = takes = "-"
    if (match(what, / \([^()]*\)$/)) {
        needs = substr(what, RSTART + 2, RLENGTH - 3)
        what = substr(what, 1, RSTART - 1)
        if (match(needs, /; [^;]*$/)) {
            takes = substr(needs, RSTART + 2)
            needs = substr(needs, 1, RSTART - 1)
        } else if (needs ~ /^[0-9]+ (s|min)$/) {
            takes = needs
            needs = "-"
        }
    }
    row(target, takes, needs, what)
}
END {
    print ""
    print "CI runs .ci/run, on two cores and from nothing: check, test, readme, conformance, clients, proxies, tls and 60 s of soak. Minutes"
    print "at most, building included: check 3, test 5, clients 6, conformance 5, proxies 2, tls 2, soak 1 and its release build; all of it 25."
}
function row(target, takes, needs, what) { printf "%-18s %-7s %-40s %s\n", target, takes, needs, what }
