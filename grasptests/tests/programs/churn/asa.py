"""A Python ASA. CHURN_NAME is what it offers, CHURN_VALUE what it says there. Without its node it ends, and is started again."""

import os
import time

import grasp

grasp.skip_dialogue()
name = os.environ["CHURN_NAME"]
error, asa = grasp.register_asa(name)
if error:
    raise SystemExit(grasp.etext[error])
offer = grasp.objective(name)
offer.synch = True
offer.value = int(os.environ["CHURN_VALUE"])
error = grasp.register_obj(asa, offer)
error = error or grasp.listen_synchronize(asa, offer)
if error:
    raise SystemExit(grasp.etext[error])
print(f"offers {name}", flush=True)
while True:
    error, _ = grasp.get_flood(asa, offer)
    if error:
        print("gone 3", flush=True)
        break
    time.sleep(0.1)
