"""Lends money to whoever asks for it. `contrib/python/run` runs it beside gray.py."""

import threading

import grasp

MOST = 100

grasp.skip_dialogue()
error, asa = grasp.register_asa("Briggs")
assert not error, grasp.etext[error]

money = grasp.objective("EX3")
money.neg = True
error = grasp.register_obj(asa, money)
assert not error, grasp.etext[error]


def negotiate(session, wanted):
    """One client in a thread of its own."""
    currency, amount = wanted.value
    grasp.tprint("Asked for", amount, currency)
    if amount <= MOST:
        grasp.end_negotiate(asa, session, True)
        return
    wanted.value = [currency, MOST]
    error, session, answer = grasp.negotiate_step(asa, session, wanted, 10_000)
    if error:
        grasp.tprint("No deal:", answer if error == grasp.errors.declined else grasp.etext[error])
    elif session is None:
        grasp.tprint("Lent", MOST, currency)
    else:
        grasp.end_negotiate(asa, session, False, reason="Not a cent more")


grasp.tprint("Ready to lend")
try:
    while True:
        error, session, wanted = grasp.listen_negotiate(asa, money)
        if error:
            grasp.tprint("Cannot listen:", grasp.etext[error])
            break
        threading.Thread(target=negotiate, args=(session, wanted), daemon=True).start()
except KeyboardInterrupt:
    grasp.tprint("Enough lent")
