"""Borrows money from whoever lends it, three times. `contrib/python/run` runs it beside briggs.py."""

import time

import grasp

grasp.skip_dialogue()
error, asa = grasp.register_asa("Gray")
assert not error, grasp.etext[error]

money = grasp.objective("EX3")
money.neg = True
error = grasp.register_obj(asa, money)
assert not error, grasp.etext[error]

for amount in (50, 120, 500):
    while True:
        error, lenders = grasp.discover(asa, money, 1000)
        if lenders:
            break
        grasp.tprint("Nobody lends", grasp.etext[error])
        time.sleep(1)
    money.value = ["NZD", amount]
    error, session, offer = grasp.req_negotiate(asa, money, lenders[0], 10_000)
    if error:
        grasp.tprint("Failed:", grasp.etext[error])
    elif session is None:
        grasp.tprint("Borrowed", *offer.value)
    elif offer.value[1] >= amount / 2:
        grasp.tprint("Take", *offer.value)
        grasp.end_negotiate(asa, session, True)
    else:
        grasp.tprint("Refuse", *offer.value)
        grasp.end_negotiate(asa, session, False, reason="You are mean!")
