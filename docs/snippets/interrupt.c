/* For dc_interrupt dc_producer_interrupt: A clean end by signal: the waiting dc_recv returns -ECANCELED. */
static dc_consumer *waiting; /* set before the handler is installed */

void stop(int signal)
{
    (void)signal;
    int code = dc_interrupt(waiting); /* safe in a handler */
    (void)code;
}
