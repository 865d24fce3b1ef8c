import threading


def work(results, index):
    results[index] = [bytearray(5000 + index) for _ in range(20)]


def run():
    results = [None] * 8
    for index in range(8):
        thread = threading.Thread(target=work, args=(results, index))
        thread.start()
        thread.join()
    return sum(len(block) for blocks in results for block in blocks)
