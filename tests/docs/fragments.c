/* The fragments of docs/ are compiled and linked, not run. */
int main(void) { return 0; }
